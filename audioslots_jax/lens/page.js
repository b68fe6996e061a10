"use strict";
// The players of a page: one sounds at a time, all pictures of its mixture share a playhead, and the
// keyboard does what the mouse does. Without this script the browser's own players still play.

const cards = [...document.querySelectorAll(".card")].map((element) => ({
  element,
  seconds: Number(element.dataset.seconds),
  tracks: [...element.querySelectorAll("audio")],
  heads: [...element.querySelectorAll(".playhead")],
  current: element.querySelector("audio"),
}));
let active = cards[0];

function activate(card) {
  active = card;
  for (const other of cards) other.element.classList.toggle("active", other === card);
}

function show(card) {
  const share = Math.min(card.current.currentTime / card.seconds, 1);
  for (const head of card.heads) {
    head.hidden = false;
    head.style.left = `${100 * share}%`;
  }
}

function follow(card) {
  show(card);
  if (!card.current.paused) requestAnimationFrame(() => follow(card));
}

// A player that has not read its length yet cannot be moved.
function seek(audio, seconds) {
  if (audio.readyState > 0) audio.currentTime = seconds;
  else audio.addEventListener("loadedmetadata", () => { audio.currentTime = seconds; }, { once: true });
}

function move(card, seconds) {
  seek(card.current, Math.max(0, Math.min(seconds, card.seconds)));
}

// A pause may come before a player has begun, which is no mistake.
function start(audio) {
  audio.play().catch((error) => { if (error.name !== "AbortError") throw error; });
}

function choose(card, track) {
  if (track === card.current) return;
  const { paused, currentTime } = card.current;
  card.current.pause();
  card.current = track;
  seek(track, currentTime);
  if (!paused) start(track);
}

for (const card of cards) {
  card.element.addEventListener("pointerdown", () => activate(card));
  card.element.addEventListener("focusin", () => activate(card));
  for (const track of card.tracks) {
    track.addEventListener("play", () => {
      if (track !== card.current) {
        // Started by its own button: it goes on where the mixture was, unless that was its end.
        const before = card.current;
        if (track.currentTime === 0 && !before.ended) seek(track, before.currentTime);
        card.current = track;
      }
      for (const other of document.querySelectorAll("audio")) if (other !== track) other.pause();
      activate(card);
      follow(card);
    });
    track.addEventListener("playing", () => track.closest(".track").classList.add("playing"));
    track.addEventListener("pause", () => track.closest(".track").classList.remove("playing"));
    track.addEventListener("seeked", () => { if (track === card.current) show(card); });
  }
  for (const picture of card.element.querySelectorAll(".time")) {
    picture.addEventListener("click", (event) => {
      const own = picture.closest(".track")?.querySelector("audio");
      if (own) choose(card, own);
      const box = picture.getBoundingClientRect();
      move(card, ((event.clientX - box.left) / box.width) * card.seconds);
    });
  }
}

document.addEventListener("keydown", (event) => {
  if (!active || event.ctrlKey || event.altKey || event.metaKey) return;
  const digit = /^[0-9]$/.test(event.key);
  // Links, tables and players have their own use for the other keys.
  if (!digit && event.target.closest("a, audio, .wide")) return;
  const audio = active.current;
  const step = Math.max(active.seconds / 50, 0.1);
  if (event.key === " ") {
    if (audio.paused) start(audio);
    else audio.pause();
  } else if (event.key === "ArrowLeft") move(active, audio.currentTime - step);
  else if (event.key === "ArrowRight") move(active, audio.currentTime + step);
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const next = cards[cards.indexOf(active) + (event.key === "ArrowDown" ? 1 : -1)];
    if (!next) return;
    audio.pause();
    activate(next);
    next.element.scrollIntoView({ block: "start" });
  } else if (digit) {
    const track = active.tracks.find((one) => one.dataset.key === event.key);
    if (track) choose(active, track);
  } else return;
  event.preventDefault();
});

if (active) activate(active);

// In a frame that holds its text (`srcdoc`), as in a notebook, links lead away to what is around it.
if (location.protocol === "about:") {
  for (const link of document.querySelectorAll("nav a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      document.querySelector(link.getAttribute("href")).scrollIntoView();
    });
  }
}
