// One clock for all videos: they start together, play by themselves, and hurry or linger where they drift from it.
(() => {
  "use strict";
  const root = document.documentElement;
  const fps = Number(document.body.dataset.fps);
  const frames = Number(document.body.dataset.frames);
  const HOLD = 0.7; // seconds the last frame stays before the loop begins again
  const LOST = 0.3; // seconds of drift beyond which a video jumps
  const PATIENCE = 1000; // milliseconds the start waits for a slow video
  const at = (id) => document.getElementById(id);
  const videos = [...document.querySelectorAll("video[data-src]")];
  const near = new Set();
  let time = 0;
  let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  let rate = 1;
  let before = null; // when the clock was last read; null while it stands
  let waiting = null; // since when the start waits for all to be at their frame; null once they run
  let stale = true;

  root.dataset.violations = "0";
  document.addEventListener("securitypolicyviolation", () => {
    root.dataset.violations = String(Number(root.dataset.violations) + 1);
  });

  const frame = () => Math.min(frames - 1, Math.floor(time * fps + 1e-6));
  // The middle of a frame: rounding never shows its neighbour.
  const middle = (video) => (Math.min(frame(), Number(video.dataset.frames) - 1) + 0.5) / fps;

  function follow(video) {
    if (video.readyState < 2 || video.seeking) return;
    const last = (Number(video.dataset.frames) - 0.5) / fps;
    const wanted = Math.min(time, last);
    const late = wanted - video.currentTime;
    if (Math.abs(late) > LOST) video.currentTime = wanted;
    const pace = rate * (1 + Math.max(-0.4, Math.min(0.4, late * 5)));
    if (Math.abs(video.playbackRate - pace) > 0.05 * rate) video.playbackRate = pace;
    if (video.paused && wanted < last) video.play().catch(() => {}); // unloaded meanwhile: it is no longer near
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
    return ready || now - waiting > PATIENCE;
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

  // Each video is shown through a canvas: a paused video element that was sought off screen may show an old frame.
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
    video.removeAttribute("src"); // browsers allow only some dozens of open players
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
    if (on) go(frame()); // exact only while all stand at the same frame
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
