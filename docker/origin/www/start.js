// Fetches a few things at once. The time is from the request to the last byte; the rate is that of
// the body, from its first byte on.

const THINGS = [
  ["text", "twitter.com", "/timeline.json"],
  ["photo", "pbs.twimg.com", "/photo.jpg"],
  ["the same photo", "example.org", "/photo.jpg"],
  ["large photo", "pbs.twimg.com", "/photo-large.jpg"],
  ["video", "video.twimg.com", "/video.mp4"],
  ["the same video", "example.org", "/video.mp4"],
]
const SLOW_BELOW_BITS_PER_S = 2e6
const AT_ONCE_S = 0.1
const SHOW_EVERY_MS = 200

function rate(bitsPerS) {
  if (bitsPerS >= 1e6) return `${(bitsPerS / 1e6).toFixed(bitsPerS < 1e7 ? 2 : 0)} Mbit/s`
  return `${(bitsPerS / 1e3).toFixed(0)} kbit/s`
}

function cell(row, className, text) {
  const td = row.insertCell()
  td.className = className
  td.textContent = text
  return td
}

async function measure([what, host, path], rows) {
  const row = rows.insertRow()
  cell(row, "", what)
  cell(row, "", host)
  const bar = row.insertCell().appendChild(document.createElement("progress"))
  const [size, time, speed] = ["", "", "on its way"].map((text) => cell(row, "figure", text))
  const asked = performance.now()
  try {
    const answer = await fetch(`https://${host}${path}?${Math.random()}`)
    if (!answer.ok) throw new Error(`status ${answer.status}`)
    // Compressed text says how long it is on the way, not how long it will be.
    const whole = Number(answer.headers.get("content-length")) || 0
    const reader = answer.body.getReader()
    const began = performance.now()
    let bytes = 0
    let shown = 0
    const show = (over) => {
      const now = performance.now()
      const waited = (now - asked) / 1000
      const seconds = (now - began) / 1000
      const bitsPerS = (bytes * 8) / Math.max(seconds, 0.001)
      const fast = seconds < AT_ONCE_S || bitsPerS > SLOW_BELOW_BITS_PER_S
      bar.max = over ? 1 : whole || bytes * 2 || 1
      bar.value = over ? 1 : bytes
      size.textContent = `${(bytes / 1000).toFixed(0)} kB`
      time.textContent = `${waited.toFixed(waited < 1 ? 2 : 1)} s`
      speed.textContent = seconds < AT_ONCE_S ? "at once" : rate(bitsPerS)
      speed.className = `figure ${fast ? "fast" : "slow"}`
    }
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      bytes += value.length
      if (performance.now() - shown > SHOW_EVERY_MS) {
        shown = performance.now()
        show(false)
      }
    }
    show(true)
  } catch (error) {
    bar.value = 0
    speed.textContent = String(error.message)
  }
}

async function all() {
  const button = document.querySelector("#again")
  const rows = document.querySelector("#rows")
  button.disabled = true
  rows.replaceChildren()
  await Promise.all(THINGS.map((thing) => measure(thing, rows)))
  button.disabled = false
  document.title = "Measured: mitmthrottle"
}

document.querySelector("#again").addEventListener("click", all)
all()
