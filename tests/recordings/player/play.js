// Plays an asciicast in asciinema's player in Chromium, and prints what the player told and what it showed at the end as
// JSON: node play.js PLAYER CAST. A minute is the most that it takes.
const { spawn } = require("node:child_process");
const { mkdtempSync, readFileSync, rmSync } = require("node:fs");
const { createServer } = require("node:http");
const { tmpdir } = require("node:os");
const { join } = require("node:path");

const [player, cast] = process.argv.slice(2);
const page = `<!doctype html><meta charset="utf-8"><body><div id="player"></div><script src="/player.js"></script><script>
const events = [];
const tell = () => fetch("/over", { method: "POST", body: JSON.stringify({
  events,
  shown: [...document.querySelectorAll(".ap-line")].map((line) => line.textContent.trimEnd()),
}) });
const player = AsciinemaPlayer.create("/a.cast", document.getElementById("player"), { autoPlay: true, idleTimeLimit: 0.1 });
for (const name of ["input", "marker", "ended", "errored"])
  player.addEventListener(name, (event) => {
    events.push([name, event]);
    // The last frame is drawn after the event.
    if (name == "ended" || name == "errored") requestAnimationFrame(() => requestAnimationFrame(tell));
  });
</script>`;
const files = {
  "/": ["text/html", page],
  "/player.js": ["text/javascript", readFileSync(player)],
  "/a.cast": ["application/x-asciicast", readFileSync(cast)],
};
const profile = mkdtempSync(join(tmpdir(), "chromium-"));

const server = createServer(async (request, response) => {
  if (request.method == "POST") {
    let told = "";
    for await (const piece of request) told += piece;
    response.end();
    return over(told);
  }
  const [type, content] = files[request.url] ?? ["text/plain", ""];
  response.setHeader("content-type", type);
  response.end(content);
});
server.listen(0, "127.0.0.1", () => {
  const url = `http://127.0.0.1:${server.address().port}/`;
  const options = ["--headless", "--no-sandbox", "--disable-gpu", `--user-data-dir=${profile}`, url];
  browser = spawn("chromium", options, { stdio: "ignore" });
  browser.on("error", fail);
});
let browser;
const limit = setTimeout(() => fail("nothing was played"), 60000);

function over(told) {
  clearTimeout(limit);
  server.close();
  browser.once("exit", () => {
    rmSync(profile, { recursive: true, force: true });
    console.log(told);
    process.exit(0);
  });
  browser.kill();
}

function fail(reason) {
  console.error(reason);
  browser?.kill();
  process.exit(1);
}
