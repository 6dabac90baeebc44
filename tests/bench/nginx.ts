/**
 * nginx, twice: as the stand-in for an engine that answers plain requests, and as the contender that every figure is
 * compared with. One worker each, no log, no buffering of answers.
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { modelsAnswer, plainAnswer } from './frames.ts';
import { freePort, startServer, type Child } from './proc.ts';

/** An nginx with `http` as its configuration, in its own folder below `folder`. */
async function startNginx(folder: string, port: number, http: string): Promise<Child> {
  const prefix = join(folder, `nginx-${port}`);
  mkdirSync(prefix);
  // Started by root, the worker runs as another user and still has to reach its own folders.
  for (const path of [folder, prefix]) chmodSync(path, 0o755);
  const file = join(prefix, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  writeFileSync(
    file,
    `daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid ${prefix}/nginx.pid;
error_log ${prefix}/error.log crit;
events { worker_connections 19000; }
http {
  access_log off;
  default_type application/json;
  keepalive_requests 100000000;
  keepalive_timeout 3600s;
  tcp_nodelay on;
${temporary.map((name) => `  ${name}_temp_path ${prefix}/${name};`).join('\n')}
${http}
}
`,
  );
  return startServer(['nginx', '-p', prefix, '-c', file, '-e', `${prefix}/error.log`], port);
}

export interface Engine extends Child {
  port: number;
}

/** The stand-in for plain requests: a fixed answer to each. */
export async function startPlainEngine(folder: string): Promise<Engine> {
  const port = await freePort();
  const child = await startNginx(
    folder,
    port,
    `  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /v1/completions { return 200 '${plainAnswer}'; }
    location = /v1/models { return 200 '${modelsAnswer}'; }
    location = /health { return 200 '{"status":"ok"}'; }
    location / { return 404 '{"error":{"message":"no such route"}}'; }
  }`,
  );
  return { port, ...child };
}

/** The contender: checks the key, forwards to the engine over kept-alive connections, passes each byte on at once. */
export async function startProxy(
  folder: string,
  port: number,
  enginePort: number,
  key: string,
): Promise<Child> {
  return startNginx(
    folder,
    port,
    `  map $http_authorization $known { default 0; "Bearer ${key}" 1; }
  upstream engine {
    server 127.0.0.1:${enginePort};
    keepalive 600;
    keepalive_requests 100000000;
    keepalive_timeout 3600s;
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / {
      if ($known = 0) { return 401 '{"error":{"message":"no key"}}'; }
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "";
      proxy_buffering off;
      proxy_read_timeout 3600s;
    }
  }`,
  );
}
