// Proxies as Debian has them, in front of a server: started for a test on a free port of the loopback, with a folder and a
// configuration of their own, and ended with it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";

/**
 * Starts nginx. What is not named here is as nginx has it by default; where Debian's own file sets something that
 * concerns a proxy, so does this one.
 * @param {string} url of the server behind it
 * @param {{http?: string, location?: string}} [more] lines for its `http` and `location` blocks
 */
export function startNginx(url, { http = "", location = "" } = {}) {
  return startProxy(process.env.TIDINGS_NGINX || "/usr/sbin/nginx", "nginx.conf", (port, folder) => ({
    args: ["-p", folder, "-e", "stderr", "-c", path.join(folder, "nginx.conf")],
    // Places for files, which would else be the system's.
    text: `
      daemon off;
      pid ${folder}/nginx.pid;
      error_log stderr crit;
      events { worker_connections 768; }
      http {
        access_log off;
        ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/${name};`).join(" ")}
        sendfile on;
        tcp_nopush on;
        gzip on;
        ${http.replaceAll("FOLDER", folder)}
        server {
          listen 127.0.0.1:${port};
          location / {
            proxy_pass ${url};
            ${location}
          }
        }
      }`,
  }));
}

/**
 * Starts haproxy, with the mode and the times of Debian's own file.
 * @param {string} url of the server behind it
 * @param {string} [more] lines for its `defaults`
 */
export function startHaproxy(url, more = "") {
  return startProxy(process.env.TIDINGS_HAPROXY || "/usr/sbin/haproxy", "haproxy.cfg", (port, folder) => ({
    args: ["-db", "-f", path.join(folder, "haproxy.cfg")],
    text: [
      "defaults", "mode http", "timeout connect 5000", "timeout client 50000", "timeout server 50000", more,
      "frontend front", `bind 127.0.0.1:${port}`, "default_backend back",
      "backend back", `server one ${new URL(url).host}`, "",
    ].join("\n"),
  }));
}

async function startProxy(program, file, configure) {
  const folder = await mkdtemp(path.join(tmpdir(), "tidings-proxy-"));
  // Started by root, its workers are somebody else.
  await chmod(folder, 0o755);
  const port = await freePort();
  const { args, text } = configure(port, folder);
  await writeFile(path.join(folder, file), text);
  const proxy = {
    url: `http://127.0.0.1:${port}`,
    async start() {
      this.child = spawn(program, args, { stdio: ["ignore", "inherit", "inherit"] });
      this.exit = once(this.child, "exit");
      const ended = this.exit.then(([code]) => { throw new Error(`${program} ended with ${code}`); });
      await Promise.race([reachable(port), ended]);
      ended.catch(() => {}); // what it ends with later is for `end`
    },
    /** Ends it, and with it all that is connected. */
    async end() {
      this.child.kill("SIGTERM");
      await this.exit;
    },
    async stop() {
      await this.end();
      await rm(folder, { recursive: true });
    },
  };
  await proxy.start();
  return proxy;
}

async function freePort() {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  listener.close();
  await once(listener, "close");
  return port;
}

/** Somebody listens there. */
async function reachable(port) {
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    try {
      await once(socket, "connect");
      return;
    } catch {
      await pause(10);
    } finally {
      socket.destroy();
    }
  }
}
