#!/bin/sh
# How the files beside this script were made. Synthetic pictures, so that nobody owns
# them: fractals and a test card. Run it only to make them again; users need no ffmpeg.
#
# The sizes are what counts: at 128 kbit/s (16 kB/s) the photos take about 1, 4 and 13
# seconds, the video about 15 s for 10 s of play.
set -eu
cd "$(dirname "$0")"

still() { # name width height quality (2 best, 31 worst)
    ffmpeg -nostdin -loglevel error -y \
        -f lavfi -i "mandelbrot=size=$2x$3:start_scale=0.02:rate=1" \
        -frames:v 1 -pix_fmt yuvj420p -map_metadata -1 -fflags +bitexact -flags:v +bitexact \
        -q:v "$4" "$1"
}
still photo-small.jpg 480 320 12
still photo.jpg 832 554 12
still photo-large.jpg 1600 1066 12

# Constrained baseline and the index in front (faststart): every browser plays it while
# it is still arriving. One key frame a second, so that a reader can seek.
ffmpeg -nostdin -loglevel error -y \
    -f lavfi -i "testsrc2=size=480x270:rate=25:duration=10" \
    -c:v libx264 -profile:v baseline -level 3.0 -pix_fmt yuv420p -g 25 \
    -b:v 190k -maxrate 220k -bufsize 220k -preset slow \
    -map_metadata -1 -fflags +bitexact -flags:v +bitexact -movflags +faststart video.mp4

ls -l -- *.jpg *.mp4
