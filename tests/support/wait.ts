/**
 * Waiting in tests: for a condition or for a promise, with a deadline that only a broken program reaches. It says what
 * was waited for, so that a hang fails with a clear message.
 */

/** Long enough for a busy machine; no test measures time with it. */
const deadlineMs = 45_000;
const pollMs = 5;

/** Resolves as soon as the condition holds; tests it every few milliseconds. Rejects with `what` at the deadline. */
export async function until(
  what: string,
  isTrue: () => boolean | Promise<boolean>,
  withinMs = deadlineMs,
): Promise<void> {
  const endsAt = performance.now() + withinMs;
  while (!(await isTrue())) {
    if (performance.now() > endsAt) throw new Error(`waited ${withinMs} ms in vain until ${what}`);
    await Bun.sleep(pollMs);
  }
}

/**
 * Returns what the promise resolves with. Rejects at the deadline with `what`, or what `what` returns then.
 */
export async function soon<T>(
  what: string | (() => string),
  promise: Promise<T>,
  withinMs = deadlineMs,
): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const shown = typeof what === 'string' ? what : what();
    late.reject(new Error(`waited ${withinMs} ms in vain for ${shown}`));
  }, withinMs);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
