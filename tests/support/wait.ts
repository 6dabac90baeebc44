/**
 * Waiting in tests: for a condition or for a promise, with a deadline that only a broken program reaches. It says what
 * was waited for, so that a hang reads as a failure of its own.
 */

/** Long enough for a busy machine; nothing is measured against it. */
const deadlineMs = 45_000;
const pollMs = 5;

/** Resolves as soon as the condition holds; looks again and again. Rejects with `what` at the deadline. */
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

/** Gives what the promise gives. Rejects with `what` at the deadline. */
export async function soon<T>(
  what: string,
  promise: Promise<T>,
  withinMs = deadlineMs,
): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`waited ${withinMs} ms in vain for ${what}`)),
    withinMs,
  );
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
