// A server that answers as it is told, for what ours never would.

import { once } from "node:events";
import { createServer } from "node:http";

/** Answers requests to `…/realtime/<endpoint>` with what `answer(request, response)` writes. */
export async function startOddServer(answer) {
  const requests = [];
  const server = createServer((request, response) => {
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
