// A link over a WebSocket.

import { address } from "./request.js";

/** Opens a WebSocket. Rooms are joined later, by commands, because a browser does not show why a handshake was refused. */
export function openSocket({ base, WebSocket, tokenIn }, { token }, on) {
  const more = { hello: 1, ...(token && tokenIn === "query" ? { token } : {}) };
  // A page can set no header here, but name subprotocols, which are words: in base64url.
  const packed = () => btoa(token).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
  const named = token && tokenIn === "header" ? ["tidings.v1", "tidings.token." + packed()] : [];
  // "http" becomes "ws", and "https" "wss".
  const socket = new WebSocket(address(base, "ws", [], more).replace("http", "ws"), named);
  socket.onopen = on.opened;
  socket.onmessage = ({ data }) => {
    on.alive();
    on.text(data);
  };
  socket.onclose = ({ code, reason }) => on.ended({ reason: "lost", closeCode: code, message: reason || undefined });
  return {
    send(texts) {
      for (const text of texts) socket.send(text);
    },
    close() {
      // It is not waited for: a link that is dead would take minutes to close.
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    },
  };
}
