// Nothing is put in the place of a button while a finger is on it: the press would be lost, or hit another one.

const HELD_MS = 1500; // no longer: a release may be missed, and the page is not to stand still for that
let since = -Infinity;
const late = new Set();

function release() {
  since = -Infinity;
  const waiting = [...late];
  late.clear();
  for (const draw of waiting) draw();
}

addEventListener("pointerdown", () => { since = performance.now(); setTimeout(release, HELD_MS); }, true);
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => setTimeout(release), true);

// Draws now, or once when the finger is off.
export function unlessPressed(draw) {
  if (performance.now() - since < HELD_MS) late.add(draw);
  else draw();
}
