/**
 * What a demo of the gateway is: settings that show and open nothing of the real thing, and how to try it.
 */

/** Gives the settings of a demo in front of an engine, by their names in the environment: no keys of the real thing. */
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

/** Opens the dashboard of a demo, which listens on loopback alone. */
const demoAdminKey = 'sk-admin-test-key-1';

/** A request that a demo proposes: the path, and the JSON body as it is shown. */
export type Proposal = readonly [path: string, body: string];

/**
 * Gives the text that says how to try a demo.
 * @param title what runs, in front of what
 * @param plain a request whose answer comes whole
 * @param streamed one whose answer is streamed
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

It keeps nothing on disk: make keys on the dashboard, not with "llm-gateway keys".

Ask it:
${curl('', plain)}

Streamed:
${curl('-N ', streamed)}

Ctrl-C ends it.
`;
}
