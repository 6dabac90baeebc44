/**
 * The settings of `llm-gateway demo`, which use no key or file of a real installation, and the text that says how to
 * try it.
 */

/** Returns the demo's settings by environment variable. They override every key and file of a real installation. */
export function demoSettings(engineUrl: string): Record<string, string> {
  return {
    ALLOWED_API_KEYS: 'sk-test-key-1',
    ALLOWED_API_KEYS_FILE: '',
    TRUSTED_USER_KEYS: '',
    TRUSTED_USER_KEYS_FILE: '',
    TRUSTED_USER_HEADER: '',
    LLM_SERVER_URL: engineUrl,
    LLM_SERVER_API_KEY: '',
    LLM_SERVER_API_KEY_FILE: '',
    LLM_SERVER_KIND: 'auto',
    TLS_CERT_FILE: '',
    TLS_KEY_FILE: '',
    DATA_DIR: 'none',
    ADMIN_API_KEY: demoAdminKey,
    ADMIN_API_KEY_FILE: '',
  };
}

/** The admin key of a demo. It may be public, because a demo listens on loopback only. */
const demoAdminKey = 'sk-admin-test-key-1';

/** A request to try: the path, and the JSON body as shown. */
export type Proposal = readonly [path: string, body: string];

/**
 * Returns the text that says how to try a demo.
 * @param title what runs, and in front of which engine
 * @param plain a request without streaming
 * @param streamed a request with streaming
 */
export function invitation(demo: {
  title: string;
  url: string;
  key: string;
  plain: Proposal;
  streamed: Proposal;
}): string {
  const { title, url, key, plain, streamed } = demo;
  const curl = (options: string, [path, body]: Proposal) =>
    `curl ${options}${url}${path} -H "Authorization: Bearer ${key}" ` +
    `-H "Content-Type: application/json" -d '${body}'`;
  return `
${title}

  address   ${url}      pages   ${url}/docs
  key       ${key}
  operator  ${url}/dashboard      key   ${demoAdminKey}

Nothing is kept on disk: make keys on the dashboard, not with "llm-gateway keys".

Try it:
${curl('', plain)}

Streamed:
${curl('-N ', streamed)}

Ctrl-C stops it.
`;
}
