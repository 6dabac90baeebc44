/**
 * The part that the scripts of all libraries share. A script gives two functions: one makes a stream of texts, the
 * other returns the arguments of the tool that the answer calls.
 */
export const asked = JSON.parse(process.argv[2]);

export const parameters = {
  type: 'object',
  properties: { city: { type: 'string' } },
  required: ['city'],
};

/** Does the task and prints what came of it. After an abort it stays, so that not its death frees the slot. */
export async function perform({ stream, callTool }) {
  try {
    if (asked.task === 'tools') {
      console.log('arguments:', JSON.stringify(await callTool()));
      return;
    }
    const controller = new AbortController();
    for await (const text of await stream(controller.signal)) {
      process.stdout.write(text ?? '');
      if (asked.task === 'abort' && text) {
        controller.abort();
        break;
      }
    }
  } catch (error) {
    if (asked.task !== 'abort') {
      console.log('error:', error.name, error.message);
      process.exit(1);
    }
  }
  if (asked.task === 'abort') {
    console.log('left');
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  }
}
