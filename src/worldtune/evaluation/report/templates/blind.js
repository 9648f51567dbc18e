// Blind votes: two candidates of a case side by side, in random order, without names.
(() => {
  "use strict";
  const dialog = document.getElementById("blind");
  if (!dialog) return;
  const at = (id) => document.getElementById(id);
  const pairs = JSON.parse(at("blind-pairs").textContent);
  const sides = ["left", "right"];
  const votes = [];
  let place = 0;
  let shown = null; // { left, right } of the case on the screen
  const coin = () => crypto.getRandomValues(new Uint8Array(1))[0] % 2 === 1;
  const order = pairs.map((_, number) => number);
  for (let last = order.length - 1; last > 0; last--) {
    const other = crypto.getRandomValues(new Uint32Array(1))[0] % (last + 1);
    [order[last], order[other]] = [order[other], order[last]];
  }

  function show() {
    const over = place >= order.length;
    at("blind-count").textContent = `${place} of ${order.length} judged`;
    for (const id of ["blind-left", "blind-same", "blind-right"]) at(id).disabled = over;
    at("blind-save").disabled = votes.length === 0;
    dialog.dataset.voted = String(votes.length);
    if (over) {
      at("blind-prompt").textContent = "All clips are judged: save the votes.";
      return;
    }
    const pair = pairs[order[place]];
    const [left, right] = coin() ? pair.shown : [...pair.shown].reverse();
    shown = { left, right };
    at("blind-prompt").textContent = pair.prompt;
    for (const side of sides) {
      const video = at(`blind-${side}-video`);
      video.src = shown[side].path;
      video.currentTime = 0;
    }
    Promise.all(sides.map((side) => at(`blind-${side}-video`).play())).catch(() => {}); // the dialog was closed
  }

  function vote(choice) {
    if (place >= order.length) return;
    votes.push({ case: pairs[order[place]].case, left: shown.left.name, right: shown.right.name, choice });
    place += 1;
    show();
  }

  function save() {
    const ballot = { format: "worldtune votes 1", report: document.body.dataset.report, votes };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(ballot, null, 1)], { type: "application/json" }));
    link.download = "votes.json";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  at("blind-open").addEventListener("click", () => {
    dialog.showModal();
    show();
  });
  at("blind-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => sides.forEach((side) => at(`blind-${side}-video`).pause()));
  for (const choice of ["left", "same", "right"]) at(`blind-${choice}`).addEventListener("click", () => vote(choice));
  at("blind-save").addEventListener("click", save);
  dialog.addEventListener("keydown", (event) => {
    const choice = { 1: "left", 2: "right", 0: "same", ArrowLeft: "left", ArrowRight: "right", ArrowDown: "same" }[event.key];
    if (!choice || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    vote(choice);
  });
  // The player's shortcuts do not work while the dialog is open.
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
})();
