// One clock for all videos: they start together and play on their own; a video that drifts from the clock changes speed.
(() => {
  "use strict";
  const root = document.documentElement;
  const fps = Number(document.body.dataset.fps);
  const frames = Number(document.body.dataset.frames);
  const HOLD = 0.7; // seconds the last frame stays before the loop restarts
  const MAX_DRIFT = 0.3; // seconds of drift above which a video seeks instead
  const TIMEOUT = 1000; // milliseconds the start waits for a slow video
  const at = (id) => document.getElementById(id);
  const videos = [...document.querySelectorAll("video[data-src]")];
  const near = new Set();
  let time = 0;
  let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  let rate = 1;
  let before = null; // time of the last clock reading; null while the clock is stopped
  let waiting = null; // time since the start waits for all videos to reach their frame; null while they play
  let stale = true; // whether the canvases must be drawn again

  root.dataset.violations = "0";
  document.addEventListener("securitypolicyviolation", () => {
    root.dataset.violations = String(Number(root.dataset.violations) + 1);
  });

  const frame = () => Math.min(frames - 1, Math.floor(time * fps + 1e-6));
  // The middle of a frame, so that rounding never shows the neighboring frame.
  const middle = (video) => (Math.min(frame(), Number(video.dataset.frames) - 1) + 0.5) / fps;

  function follow(video) {
    if (video.readyState < 2 || video.seeking) return;
    const last = (Number(video.dataset.frames) - 0.5) / fps;
    const target = Math.min(time, last);
    const late = target - video.currentTime;
    if (Math.abs(late) > MAX_DRIFT) video.currentTime = target;
    const pace = rate * (1 + Math.max(-0.4, Math.min(0.4, late * 5)));
    if (Math.abs(video.playbackRate - pace) > 0.05 * rate) video.playbackRate = pace;
    if (video.paused && target < last) video.play().catch(() => {}); // it fails if the video was unloaded meanwhile
  }

  function stand() {
    for (const video of near) {
      video.pause();
      video.currentTime = middle(video);
    }
    waiting = playing ? performance.now() : null;
    before = null;
  }

  function mayStart(now) {
    const ready = [...near].every((video) => video.readyState >= 2 && !video.seeking);
    return ready || now - waiting > TIMEOUT;
  }

  function advance(now) {
    if (waiting !== null) {
      if (!mayStart(now)) return;
      waiting = null;
    }
    if (before !== null) time += ((now - before) / 1000) * rate;
    before = now;
    if (time >= frames / fps + HOLD) {
      time = 0;
      stand();
    } else near.forEach(follow);
    show();
  }

  function go(toFrame) {
    time = Math.max(0, Math.min(frames - 1, toFrame)) / fps;
    setPlaying(false);
    show();
  }

  function setPlaying(on) {
    playing = on;
    at("play").textContent = on ? "❚❚" : "▶";
    root.dataset.player = on ? "playing" : "paused";
    stand();
  }

  function show() {
    const now = String(frame());
    if (root.dataset.frame === now) return;
    root.dataset.frame = now;
    at("scrub").value = now;
    at("counter").textContent = `frame ${now} of ${frames - 1}`;
  }

  // Each video is drawn on a canvas, because a paused video element that seeks off screen may show an old frame.
  function draw(video, differing) {
    const canvas = video.nextElementSibling;
    const truth = video.closest(".row").querySelector(".truth video");
    if (video.readyState < 2 || truth.readyState < 2) return;
    if (canvas.width !== video.videoWidth || canvas.height !== video.videoHeight) {
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
    }
    const brush = canvas.getContext("2d");
    brush.globalCompositeOperation = "copy";
    brush.drawImage(video, 0, 0);
    if (!differing || video === truth) return;
    brush.globalCompositeOperation = "difference";
    brush.drawImage(truth, 0, 0);
  }

  function tick(now) {
    if (playing) advance(now);
    if (playing || stale) {
      stale = false;
      const differing = document.body.classList.contains("differing");
      near.forEach((video) => draw(video, differing));
    }
    requestAnimationFrame(tick);
  }

  function load(video) {
    near.add(video);
    stale = true;
    if (!video.hasAttribute("src")) video.src = video.dataset.src;
    video.preload = "auto";
    if (!playing && video.readyState > 0) video.currentTime = middle(video);
    root.dataset.near = String(near.size);
  }

  function unload(video) {
    near.delete(video);
    video.pause();
    video.removeAttribute("src"); // browsers allow only a few dozen open players
    video.load();
    root.dataset.near = String(near.size);
  }

  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) load(target);
        else if (near.has(target)) unload(target);
      }
    },
    { rootMargin: "300px 0px" },
  );
  for (const video of videos) {
    video.after(document.createElement("canvas"));
    video.addEventListener("loadeddata", () => {
      stale = true;
      if (!playing) video.currentTime = middle(video);
    });
    video.addEventListener("seeked", () => {
      stale = true;
    });
    watcher.observe(video);
  }

  function filter() {
    const task = at("task").value;
    let shown = 0;
    const rows = document.querySelectorAll("article.row");
    for (const row of rows) {
      const here = task === "all" || row.dataset.task === task;
      row.classList.toggle("away", !here);
      shown += here ? 1 : 0;
    }
    at("shown").textContent = `${shown} of ${rows.length} clips`;
    root.dataset.shown = String(shown);
  }

  at("play").addEventListener("click", () => {
    if (!playing && frame() === frames - 1) time = 0;
    setPlaying(!playing);
  });
  at("back").addEventListener("click", () => go(frame() - 1));
  at("forward").addEventListener("click", () => go(frame() + 1));
  at("scrub").addEventListener("input", () => go(Number(at("scrub").value)));
  at("speed").addEventListener("change", () => {
    rate = Number(at("speed").value);
  });
  at("task").addEventListener("change", filter);
  at("difference").addEventListener("click", () => {
    const on = document.body.classList.toggle("differing");
    at("difference").setAttribute("aria-pressed", String(on));
    if (on) go(frame()); // pause: the difference is exact only if all videos show the same frame
    stale = true;
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, button, summary, a") || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { " ": () => at("play").click(), ArrowLeft: () => go(frame() - 1), ArrowRight: () => go(frame() + 1) };
    if (!act[event.key]) return;
    event.preventDefault();
    act[event.key]();
  });

  root.dataset.videos = String(videos.length);
  root.dataset.near = "0";
  filter();
  setPlaying(playing);
  show();
  requestAnimationFrame(tick);
})();
