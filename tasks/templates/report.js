// Players drive the time lines beside them; the page reads the same without this script.
"use strict";
for (const line of document.querySelectorAll(".timeline")) {
  const card = line.closest(".part, article");
  const player = card.querySelector("audio, video");
  const seek = line.querySelector(".seek");
  if (!player) continue;
  const cursor = seek.firstElementChild;
  const scroll = line.querySelector(".scroll");
  const duration = Number(line.dataset.duration);
  const spoken = [...line.querySelectorAll("g[data-start]")].map((element) => ({
    element,
    start: Number(element.dataset.start),
    end: Number(element.dataset.end),
  }));
  seek.hidden = false;
  const draw = () => {
    const time = player.currentTime;
    cursor.style.left = `${(100 * Math.min(time, duration)) / duration}%`;
    seek.classList.toggle("started", time > 0);
    for (const { element, start, end } of spoken) {
      element.classList.toggle("now", time > 0 && time >= start && time < end);
    }
    if (scroll && scroll.scrollWidth > scroll.clientWidth) {
      const x = cursor.offsetLeft;
      if (x < scroll.scrollLeft || x > scroll.scrollLeft + scroll.clientWidth - 90) {
        scroll.scrollLeft = x - 40;
      }
    }
  };
  const follow = () => {
    draw();
    if (!player.paused) requestAnimationFrame(follow);
  };
  player.addEventListener("play", follow);
  for (const event of ["timeupdate", "seeking", "seeked", "ended"]) player.addEventListener(event, draw);
  seek.addEventListener("click", (event) => {
    const box = seek.getBoundingClientRect();
    player.currentTime = (duration * (event.clientX - box.left)) / box.width;
    player.play();
  });
}
const players = [...document.querySelectorAll("audio, video")];
for (const player of players) {
  player.addEventListener("play", () => {
    for (const other of players) if (other !== player) other.pause();
  });
}
