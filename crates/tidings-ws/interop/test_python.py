"""Python's `websockets`, which inflates and deflates with zlib itself, against the echo example and the hub's endpoint.

TIDINGS_TARGET_DIR is where cargo has built.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import unittest

from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.sync.client import connect

HERE = pathlib.Path(__file__).parent
TARGET = HERE / os.environ.get("TIDINGS_TARGET_DIR", "../../../target")
MIB = 1 << 20
SIZES = [0, 1, 125, 126, 127, 128, 65535, 65536, MIB]
AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
WORDS = "naïve café, 漢字, 🏳️‍🌈 and so on; "
PATIENCE = 10


class Server:
    """A program of ours, which says on its first line where it listens."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            [TARGET / "debug" / command[0], *command[1:]], stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        url = line.removeprefix("listening on ").strip()
        assert url != line.strip(), f"the server says where it listens: {line!r}"
        self.url = url.replace("http:", "ws:")

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def header(socket):
    return socket.response.headers.get("Sec-WebSocket-Extensions")


def text_of(size):
    """Text of so many bytes, with characters of all lengths where they fit."""
    text = WORDS * (size // len(WORDS.encode()))
    return text + "x" * (size - len(text.encode()))


def noise(size):
    return random.Random(size).randbytes(size)


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.command)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def open(self, path="", **options):
        """A socket, which is closed when the test ends if it is not before."""
        url = self.server.url + path
        options = {"max_size": None, "open_timeout": PATIENCE, "close_timeout": PATIENCE, **options}
        return self.enterContext(connect(url, **options))

    def closed(self, socket):
        """Reads until the connection ends, and gives the code of the server's close frame."""
        try:
            while True:
                socket.recv(timeout=PATIENCE)
        except ConnectionClosed as end:
            self.assertIsNotNone(end.rcvd, "a close frame came")
            return end.rcvd.code

    def count_compressed(self):
        """Counts the frames that come compressed from here on."""
        count = [0]
        decode = PerMessageDeflate.decode

        def counting(extension, frame, **options):
            count[0] += frame.rsv1
            return decode(extension, frame, **options)

        PerMessageDeflate.decode = counting
        self.addCleanup(setattr, PerMessageDeflate, "decode", decode)
        return count


class Echo(Case):
    command = ("examples/echo", "127.0.0.1:0")

    def test_messages_of_all_sizes_come_back(self):
        compressed = self.count_compressed()
        socket = self.open()
        self.assertEqual(header(socket), AGREED)
        self.assertEqual([type(one) for one in socket.protocol.extensions], [PerMessageDeflate])
        for size in SIZES:
            for message in ["x" * size, text_of(size), b"\0" * size, noise(size)]:
                socket.send(message)
                self.assertEqual(socket.recv(timeout=PATIENCE), message, f"{size} bytes")
        self.assertGreater(compressed[0], len(SIZES))

    def test_without_an_offer_nothing_is_compressed(self):
        socket = self.open(compression=None)
        self.assertIsNone(header(socket))
        for size in SIZES:
            socket.send(text_of(size))
            self.assertEqual(socket.recv(timeout=PATIENCE), text_of(size))

    def test_fragments_are_joined(self):
        words = WORDS.split(" ")
        for options in [{}, {"compression": None}]:
            socket = self.open(**options)
            for pieces in [words, ["", "a", ""], ["x" * 70_000] * 3, list(WORDS)]:
                socket.send(iter(pieces))
                self.assertEqual(socket.recv(timeout=PATIENCE), "".join(pieces))
                binary = [piece.encode() for piece in pieces]
                socket.send(iter(binary))
                self.assertEqual(socket.recv(timeout=PATIENCE), b"".join(binary))
            socket.send([noise(100_000)] * 10)
            self.assertEqual(socket.recv(timeout=PATIENCE), noise(100_000) * 10)

    def test_a_window_is_kept_to(self):
        # zlib refuses what refers further back than its window, so a message must have something to refer to.
        message = noise(20_000).hex() * 2 + WORDS * 100
        for bits in range(8, 16):
            for own in [None, True, 9, 15]:
                offer = ClientPerMessageDeflateFactory(
                    server_max_window_bits=bits, client_max_window_bits=own, client_no_context_takeover=bits % 2 == 0
                )
                socket = self.open(compression=None, extensions=[offer])
                answer = header(socket)
                if bits == 8:
                    self.assertIsNone(answer)
                else:
                    self.assertLessEqual(int(answer.rpartition("server_max_window_bits=")[2]), bits)
                for _ in range(2):
                    socket.send(message)
                    self.assertEqual(socket.recv(timeout=PATIENCE), message, f"{bits} bits, {answer}")

    def test_pings_are_answered(self):
        socket = self.open()
        for payload in [b"", b"ping", b"\xff" * 125]:
            self.assertTrue(socket.ping(payload).wait(PATIENCE))

    def test_our_close_code_comes_back(self):
        for code in [1000, 1001, 3000, 4999]:
            socket = self.open()
            socket.close(code, "bye, 漢字")
            self.assertEqual(socket.protocol.close_rcvd.code, code)
            self.assertFalse(socket.protocol.close_rcvd_then_sent, "we were first")

    def test_the_server_says_what_is_wrong(self):
        key = b"\0\0\0\0"
        for code, frame in [
            (1002, b"\x81\x01x"),  # not masked
            (1002, b"\x83\x80" + key),  # a reserved opcode
            (1002, b"\xd1\x80" + key),  # a reserved bit beside the agreed one
            (1007, b"\x81\x81" + key + b"\xff"),  # not UTF-8
            (1007, b"\xc1\x81" + key + b"\xff"),  # not deflated
            (1009, b"\x82\xff" + (17 * MIB).to_bytes(8, "big") + key),
        ]:
            socket = self.open()
            socket.socket.sendall(frame)
            self.assertEqual(self.closed(socket), code, frame)


class Hub(Case):
    command = ("server", "--listen", "127.0.0.1:0")

    def join(self, room, **options):
        socket = self.open(f"ws?room={room}", **options)
        self.assertEqual(json.loads(socket.recv(timeout=PATIENCE))["type"], "joined")
        return socket

    def test_texts_of_all_sizes_reach_everybody(self):
        compressed = self.count_compressed()
        one = self.join("sizes", subprotocols=["foo", "tidings.v1"])
        two = self.join("sizes", compression=None)
        self.assertEqual((header(one), header(two)), (AGREED, None))
        self.assertEqual((one.subprotocol, two.subprotocol), ("tidings.v1", None))
        limit = MIB - len(self.publish(""))
        for size in [*SIZES[:-1], limit]:
            data = text_of(size)
            command = self.publish(data)
            self.send(one, size, command)
            for socket in [one, two]:
                message = json.loads(socket.recv(timeout=PATIENCE))
                if message["type"] == "reply":
                    message = json.loads(socket.recv(timeout=PATIENCE))
                self.assertEqual((message["type"], message["data"]), ("event", data), f"{size} bytes")
        self.assertGreater(compressed[0], 4)

    def publish(self, data):
        command = {"type": "publish", "ref": 1, "room": "sizes", "event": "e", "data": data}
        return json.dumps(command, ensure_ascii=False)

    def send(self, socket, size, command):
        # Every other size in fragments.
        socket.send(command if size % 2 == 0 else iter([command[:10], command[10:20], command[20:]]))

    def test_exactly_the_limit_is_taken(self):
        for over, options in [(0, {}), (0, {"compression": None}), (1, {}), (1, {"compression": None})]:
            socket = self.join("limit", **options)
            command = json.dumps({"type": "leave", "ref": 1, "room": "r", "padding": ""})
            command = command.replace('""', '"' + "x" * (MIB + over - len(command)) + '"')
            self.assertEqual(len(command), MIB + over)
            socket.send(command)
            if over == 0:
                self.assertEqual(json.loads(socket.recv(timeout=PATIENCE))["type"], "left")
            else:
                self.assertEqual(self.closed(socket), 1009)

    def test_a_binary_message_is_answered_and_the_connection_stays(self):
        socket = self.join("binary")
        for size in SIZES:
            socket.send(noise(size))
            self.assertEqual(json.loads(socket.recv(timeout=PATIENCE))["type"], "error")
        self.assertTrue(socket.ping().wait(PATIENCE))

    def test_our_close_code_comes_back(self):
        for code in [1000, 3000, 4999]:
            socket = self.join("close")
            socket.close(code, "bye")
            self.assertEqual(socket.protocol.close_rcvd.code, code)

    def test_a_server_that_ends_says_so(self):
        server = Server(*self.command)
        self.addCleanup(server.stop)
        socket = self.enterContext(connect(f"{server.url}ws?room=drain"))
        self.assertEqual(json.loads(socket.recv(timeout=PATIENCE))["type"], "joined")
        server.interrupt()
        self.assertEqual(self.closed(socket), 1012)
        self.assertEqual(server.process.wait(PATIENCE), 0)


if __name__ == "__main__":
    unittest.main()
