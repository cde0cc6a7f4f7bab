// A server that answers as it is told, for what ours never would.

import { once } from "node:events";
import { createServer } from "node:http";

/**
 * Answers requests to `…/realtime/<endpoint>` with what `answer(request, response)` writes. With the address of a real server,
 * that one gives its page and its script, so that a browser has both from here.
 */
export async function startOddServer(answer, real) {
  const requests = [];
  const server = createServer(async (request, response) => {
    if (real && (request.url === "/" || request.url === SCRIPT)) {
      const { headers, body } = await fetch(real + request.url);
      response.writeHead(200, { "content-type": headers.get("content-type") });
      for await (const piece of body) response.write(piece);
      return response.end();
    }
    requests.push({ at: performance.now(), url: request.url, headers: request.headers });
    answer(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    requests,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

const SCRIPT = "/realtime/tidings.js";
