// A word diff of two texts: what the rejected one has, what the chosen one has, what both have.

const MOST_CELLS = 1_000_000;

/** Words, numbers, single signs and runs of white space; joined they are the text again. */
export function words(text) {
  return text.match(/\s+|[\p{L}\p{N}]+(?:[.,][\p{N}]+)*|[^\s\p{L}\p{N}]/gu) ?? [];
}

/**
 * Spans `{kind: "same" | "removed" | "added", text}` that turn `before` into `after`, by the longest common
 * subsequence of words. Texts too long for that (more than a million pairs of words between the common start and end)
 * are told apart as a whole, so the page never hangs.
 */
export function wordDiff(before, after) {
  const left = words(before);
  const right = words(after);
  let start = 0;
  while (start < left.length && start < right.length && left[start] === right[start]) start += 1;
  let end = 0;
  const shorter = Math.min(left.length, right.length) - start;
  while (end < shorter && left[left.length - 1 - end] === right[right.length - 1 - end]) end += 1;
  const middle = between(left.slice(start, left.length - end), right.slice(start, right.length - end));
  const spans = [...left.slice(0, start).map(same), ...middle, ...left.slice(left.length - end).map(same)];
  return merge(spans);
}

const same = (text) => ({ kind: "same", text });

function between(left, right) {
  if (left.length * right.length > MOST_CELLS) {
    return [
      { kind: "removed", text: left.join("") },
      { kind: "added", text: right.join("") },
    ];
  }
  const lengths = commonLengths(left, right);
  const width = right.length + 1;
  const spans = [];
  let row = 0;
  let column = 0;
  while (row < left.length || column < right.length) {
    if (row < left.length && column < right.length && left[row] === right[column]) {
      spans.push(same(left[row]));
      row += 1;
      column += 1;
    } else if (
      column === right.length ||
      (row < left.length && lengths[(row + 1) * width + column] >= lengths[row * width + column + 1])
    ) {
      spans.push({ kind: "removed", text: left[row] });
      row += 1;
    } else {
      spans.push({ kind: "added", text: right[column] });
      column += 1;
    }
  }
  return spans;
}

/** Length of the longest common subsequence of `left[row:]` and `right[column:]`, at `row * width + column`. */
function commonLengths(left, right) {
  const width = right.length + 1;
  const lengths = new Uint32Array((left.length + 1) * width);
  for (let row = left.length - 1; row >= 0; row -= 1) {
    for (let column = right.length - 1; column >= 0; column -= 1) {
      lengths[row * width + column] =
        left[row] === right[column]
          ? lengths[(row + 1) * width + column + 1] + 1
          : Math.max(lengths[(row + 1) * width + column], lengths[row * width + column + 1]);
    }
  }
  return lengths;
}

function merge(spans) {
  const merged = [];
  for (const span of spans) {
    if (span.text === "") continue;
    const last = merged.at(-1);
    if (last?.kind === span.kind) last.text += span.text;
    else merged.push({ ...span });
  }
  return merged;
}
