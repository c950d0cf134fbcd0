"""Media as it is really served: one MP4 file, HLS in both its forms, DASH, all made by ffmpeg of
the same test card.

Rule: made anew for each run, and nobody owns the pictures.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SECONDS = 12
BITS_PER_S = 300_000


def make_media(folder: Path) -> None:
    """movie.mp4; hls/ (fragments), ts/ (MPEG-TS) and dash/ with their playlists; the player."""
    for name in ("hls", "ts", "dash"):
        (folder / name).mkdir(parents=True)
    _ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=25:duration={SECONDS}",
        "-c:v", "libx264", "-profile:v", "baseline", "-level", "3.0", "-pix_fmt", "yuv420p",
        # As many bits in each second as in any other, so that a stall is foreseeable.
        "-g", "25", "-b:v", str(BITS_PER_S), "-minrate", str(BITS_PER_S),
        "-maxrate", str(BITS_PER_S), "-bufsize", str(BITS_PER_S // 2), "-x264-params",
        "nal-hrd=cbr:keyint=25:scenecut=0", "-preset", "veryfast",
        "-movflags", "+faststart", str(folder / "movie.mp4"),
    )  # fmt: skip
    copy = ("-i", str(folder / "movie.mp4"), "-c", "copy")
    every = ("-hls_time", "2", "-hls_playlist_type", "vod")
    _ffmpeg(*copy, "-f", "hls", *every, "-hls_segment_type", "fmp4", str(folder / "hls/list.m3u8"))
    _ffmpeg(*copy, "-f", "hls", *every, str(folder / "ts/list.m3u8"))
    _ffmpeg(*copy, "-f", "dash", "-seg_duration", "2", str(folder / "dash/list.mpd"))
    shutil.copy(Path(__file__).with_name("ways_player.html"), folder / "player.html")


def _ffmpeg(*arguments: str) -> None:
    subprocess.run(
        ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", *arguments],
        check=True,
        capture_output=True,
    )
