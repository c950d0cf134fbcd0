// Takes the media from the names that belong to this page's site, and says when each was there.

const FROM =
  location.hostname === "twitter.com"
    ? { photos: "pbs.twimg.com", videos: "video.twimg.com" }
    : { photos: location.hostname, videos: location.hostname }

for (const media of document.querySelectorAll("img,video")) {
  const host = FROM[media.dataset.from]
  media.addEventListener(media.localName === "img" ? "load" : "canplaythrough", () => {
    const seconds = (performance.now() / 1000).toFixed(1)
    media.nextElementSibling.textContent = `from ${host}, there after ${seconds} s`
  })
  media.src = `https://${host}${media.dataset.path}?${Math.random()}`
}

fetch("/timeline.json")
  .then((answer) => answer.json())
  .then(({ posts }) => {
    document.querySelector("#count").textContent = `${posts.length} posts in the timeline`
  })
