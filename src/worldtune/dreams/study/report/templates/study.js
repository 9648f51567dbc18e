// Play all videos together from their first frame; one button pauses and plays them.
(() => {
  "use strict";
  const root = document.documentElement;
  root.dataset.violations = "0";
  document.addEventListener("securitypolicyviolation", () => {
    root.dataset.violations = String(Number(root.dataset.violations) + 1);
  });
  const videos = [...document.querySelectorAll("video")];
  const button = document.getElementById("play");
  let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;

  function show() {
    button.textContent = playing ? "pause the videos" : "play the videos";
    button.setAttribute("aria-pressed", String(playing));
    for (const video of videos) {
      if (playing) {
        video.currentTime = 0;
        video.play().catch(() => {}); // the browser may refuse to play; the button tries again
      } else {
        video.pause();
      }
    }
  }

  button.hidden = videos.length === 0;
  button.addEventListener("click", () => {
    playing = !playing;
    show();
  });
  show();
})();
