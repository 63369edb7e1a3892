// Looking again and again at what changes by itself.

const FINAL = new Set([401, 403, 404]); // another look would say the same

/** Whether an error ends a watch: the session is over, the right is missing, or the thing is gone. */
export function isFinal(error) {
  return FINAL.has(error.status);
}

/**
 * Call `look` until the view is left (`signal`) or an error is final. `waitMs()` says how long to wait before the next
 * look; a page in the background waits. `failed(error)` shows what went wrong: the next look may succeed.
 */
export async function follow({ look, waitMs, failed, signal }) {
  while (!signal.aborted) {
    await new Promise((resolve) => window.setTimeout(resolve, waitMs()));
    if (signal.aborted) return;
    if (document.hidden) continue;
    try {
      await look();
    } catch (error) {
      if (signal.aborted) return;
      failed(error);
      if (isFinal(error)) return;
    }
  }
}
