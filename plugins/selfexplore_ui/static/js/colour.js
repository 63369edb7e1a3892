// How often rollouts from behind a step reach the gold answer, as one of five classes and in words.

export const PASS_CLASSES = [
  { name: "pass-none", label: "none" },
  { name: "pass-few", label: "up to a quarter" },
  { name: "pass-some", label: "up to a half" },
  { name: "pass-many", label: "up to three quarters" },
  { name: "pass-most", label: "more" },
];

/** The class of a step; null where no rollout was drawn behind it. */
export function passClass(passCount, drawCount) {
  if (passCount === null || passCount === undefined || !drawCount) return null;
  const share = passCount / drawCount;
  return PASS_CLASSES[share === 0 ? 0 : Math.min(4, Math.ceil(4 * share - 1e-9) || 1)].name;
}

/** `3 of 4 reach the answer` */
export function passText(passCount, drawCount) {
  if (passClass(passCount, drawCount) === null) return "not explored";
  return `${passCount} of ${drawCount} reach the answer`;
}
