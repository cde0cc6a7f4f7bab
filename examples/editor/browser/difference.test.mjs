// Which edit makes one text of another.

import assert from "node:assert/strict";
import { test } from "node:test";
import { generator } from "../../../crates/tidings-js/test/support/random.mjs";
import { difference } from "../page/binding.js";

const apply = (before, { at, removed, inserted }) => before.slice(0, at) + inserted + before.slice(at + removed);

test("of several edits, it is the one that ends at the caret", () => {
  const edit = (at, removed, inserted) => ({ at, removed, inserted });
  assert.equal(difference("same", "same", 2), null);
  assert.deepEqual(difference("aaa", "aaaa", 2), edit(1, 0, "a"));
  assert.deepEqual(difference("aaa", "aaaa", 4), edit(3, 0, "a"));
  assert.deepEqual(difference("aaa", "aaaa", 1), edit(0, 0, "a"));
  assert.deepEqual(difference("aaaa", "aaa", 1), edit(1, 1, ""));
  assert.deepEqual(difference("one two", "one 2", 5), edit(4, 3, "2"));
  assert.deepEqual(difference("", "new", 3), edit(0, 0, "new"));
  assert.deepEqual(difference("old", "", 0), edit(0, 3, ""));
  // A caret that is elsewhere changes nothing of how small the edit is.
  assert.deepEqual(difference("one two three", "one 2 three", 11), edit(4, 3, "2"));
});

test("characters of two halves are not cut", () => {
  // These two begin with the same half, and the next two end with the same.
  assert.deepEqual(difference("a😀b", "a😁b", 3), { at: 1, removed: 2, inserted: "😁" });
  assert.deepEqual(difference("a", "a\ud83d", 2), { at: 1, removed: 0, inserted: "\ufffd" });
  assert.deepEqual(difference("\u{10400}", "\u{20400}", 2), { at: 0, removed: 2, inserted: "\u{20400}" });
});

test("whatever the texts and the caret, it makes the one of the other", () => {
  for (let seed = 1; seed <= 3_000; seed++) {
    const random = generator(seed);
    const below = (most) => Math.floor(random() * most);
    const some = (most) => Array.from({ length: below(most) }, () => ["a", "b", "😀", "😁", "\n"][below(5)]).join("");
    const [before, after] = random() < 0.5 ? [some(12), some(12)] : (() => {
      const [head, tail] = [some(8), some(8)];
      return [head + some(3) + tail, head + some(3) + tail];
    })();
    const edit = difference(before, after, below(after.length + 1));
    assert.equal(edit ? apply(before, edit) : before, after, `seed ${seed}`);
    if (edit) assert.ok(edit.inserted.isWellFormed(), `seed ${seed}`);
  }
});
