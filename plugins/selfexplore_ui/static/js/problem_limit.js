// How many rationales of a round a problem's page asks for.

const STEPS = [20, 50, 100, 200, 500]; // the API gives no more than the last

/** The number that an address asks for; what is no number, or out of range, becomes one that the API takes. */
export function limitOf(text) {
  const asked = Math.trunc(Number(text));
  return asked >= 1 ? Math.min(asked, STEPS.at(-1)) : STEPS[0];
}

/** The next larger number; null after the last. */
export function nextLimit(limit) {
  return STEPS.find((step) => step > limit) ?? null;
}

/** `Round 2: 5 of 26 right`, and how many of them are shown where that is not all. */
export function roundTitle(round, shown) {
  const title = `Round ${round.round}: ${round.correct_count} of ${round.rationale_count} right`;
  return shown < round.rationale_count ? `${title}, showing ${shown} of ${round.rationale_count}` : title;
}
