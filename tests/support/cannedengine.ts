/** An engine whose endpoints return the answers that a test has written down, without a socket. */
export interface Reply {
  /** Default 200 with JSON or text, else 404. */
  status?: number;
  json?: unknown;
  text?: string;
  server?: string;
}

export const loadingModel = {
  error: { message: 'Loading model', type: 'unavailable_error', code: 503 },
};

/** An engine that answers these paths, and others with a 404; `asked` has the paths requested. */
export function engineOf(replies: Record<string, Reply | undefined>, server = 'uvicorn') {
  const asked: string[] = [];
  return {
    asked,
    async ask(path: string) {
      asked.push(path);
      if (path in replies && replies[path] === undefined) return undefined;
      const { json, text = JSON.stringify(json) ?? '', server: own = server } = replies[path] ?? {};
      const { status = text === '' ? 404 : 200 } = replies[path] ?? {};
      return { status, text, json, headers: new Headers({ server: own }) };
    },
  };
}
