// Runs in each frame before the page's own scripts. It notes when videos start and stand still.
// Rule: it listens. It changes nothing, but for play(), muted, on the videos in view that do
// not start by themselves, and only if told to (PLAY).
(() => {
  const now = () => performance.timeOrigin + performance.now()
  const known = new Map() // video -> what was seen of it; times in ms since 1970
  const rooms = new WeakSet()

  const view = new IntersectionObserver(changes => {
    for (const { target, isIntersecting } of changes) {
      if (!isIntersecting) continue
      view.unobserve(target)
      if (target.paused && !target.autoplay && !target.ended) {
        target.muted = true
        target.play().catch(() => {}) // without a source it may never be able to
      }
    }
  })

  function seenOf(video) {
    if (!known.has(video)) {
      known.set(video, { source: "", asked: null, started: null, stalls: [], still: null,
        until: null, error: null })
      if (PLAY && document.readyState !== "loading") view.observe(video)
    }
    return known.get(video)
  }
  function goesOn(seen) {
    if (seen.still !== null) seen.stalls.push({ from: seen.still, to: now() })
    seen.still = null
  }
  const on = {
    loadstart(video, seen) { seen.until = null; if (video.autoplay) seen.asked ??= now() },
    play(video, seen) { seen.asked ??= now() },
    playing(video, seen) { seen.started ??= now(); goesOn(seen) },
    waiting(video, seen) {
      if (seen.started !== null && !video.seeking && !video.paused && !video.ended) seen.still ??= now()
    },
    seeking(video, seen) { goesOn(seen) },
    pause(video, seen) { goesOn(seen) },
    ended(video, seen) { goesOn(seen); seen.until ??= now() },
    error(video, seen) {
      goesOn(seen)
      seen.error = video.error?.message || `error ${video.error?.code}`
      seen.until ??= now()
    },
  }
  function heard(event) {
    const video = event.target
    if (!(video instanceof HTMLVideoElement)) return
    const seen = seenOf(video)
    seen.source = video.currentSrc || seen.source
    on[event.type](video, seen)
  }
  // Media events do not bubble, but they can be caught on their way down; not into a shadow tree.
  function listen(room) {
    if (rooms.has(room)) return
    rooms.add(room)
    for (const type of Object.keys(on)) room.addEventListener(type, heard, true)
  }
  listen(window)
  const attach = Element.prototype.attachShadow
  Element.prototype.attachShadow = function (options) {
    const room = attach.call(this, options)
    listen(room)
    return room
  }

  if (PLAY) {
    const found = root => { for (const video of root.querySelectorAll?.("video") ?? []) view.observe(video) }
    document.addEventListener("DOMContentLoaded", () => {
      found(document)
      new MutationObserver(changes => {
        for (const change of changes) for (const node of change.addedNodes) {
          if (node instanceof HTMLVideoElement) view.observe(node)
          else found(node)
        }
      }).observe(document, { childList: true, subtree: true })
    })
  }

  // Nothing that comes or does not come can make it stand still any more.
  function isThere(video) {
    const { duration, buffered, currentTime } = video
    for (let n = 0; n < buffered.length; n++) {
      if (buffered.start(n) <= currentTime + 0.1 && buffered.end(n) >= duration - 0.25) return true
    }
    return false
  }
  function report() {
    return [...known].filter(([, seen]) => seen.asked !== null).map(([video, seen]) => {
      if (seen.started !== null && seen.still === null && isThere(video)) seen.until ??= now()
      const stalls = [...seen.stalls]
      if (seen.still !== null) stalls.push({ from: seen.still, to: now() })
      const goes = !video.paused || (video.autoplay && seen.started === null)
      const has_source = video.networkState === 1 || video.networkState === 2
      return { ...seen, stalls, under_way: seen.until === null && goes && has_source }
    })
  }
  Object.defineProperty(globalThis, "__mitmthrottle_videos", { value: report })
})()
