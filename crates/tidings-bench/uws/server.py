"""uWebSockets (by its bindings in socketify) with the addresses of the other servers that we compare with.

GET /ws/ROOM subscribes; each text frame on GET /pub/ROOM is published, by uWebSockets' own code; GET /echo echoes.
"""

from socketify import App, AppListenOptions, OpCode


def enter(response, request, context):
    response.upgrade(
        request.get_header("sec-websocket-key"),
        request.get_header("sec-websocket-protocol"),
        request.get_header("sec-websocket-extensions"),
        context,
        request.get_parameter(0),
    )


def subscribe(socket):
    socket.subscribe(socket.get_user_data())


app = App()
LIMITS = {"max_payload_length": 1 << 20, "max_backpressure": 64 << 20, "idle_timeout": 960}
app.ws("/ws/:room", {**LIMITS, "upgrade": enter, "open": subscribe, "message": lambda socket, message, opcode: None})
app.ws("/pub/:room", {
    **LIMITS,
    "upgrade": enter,
    "message": lambda socket, message, opcode: app.publish(socket.get_user_data(), message, OpCode.TEXT),
})
app.ws("/echo", {**LIMITS, "message": lambda socket, message, opcode: socket.send(message, opcode)})
app.listen(AppListenOptions(port=9001, host="127.0.0.1"), lambda config: None)
app.run()
