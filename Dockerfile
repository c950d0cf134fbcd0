# The proxy and the command line: docker build -t mitmthrottle . && docker run --rm mitmthrottle policies
#
# Rule: the image has an interpreter, the pinned packages and nothing that could build or fetch more.
# docs/docker.md tells how to run it.

FROM debian:trixie-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-pip python3-venv \
 && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# Without a pip of its own: the one of this stage stays behind.
RUN python3 -m venv --without-pip /opt/mitmthrottle
WORKDIR /src
# The dependencies first, so that a change of the source does not fetch them again.
COPY pyproject.toml constraints.txt ./
RUN python3 -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print(*project['dependencies'], *project['optional-dependencies']['lab'], sep='\n')" >needed.txt \
 && pip --python /opt/mitmthrottle/bin/python install --no-compile -r needed.txt -c constraints.txt
COPY README.md LICENSE policy.schema.json ./
COPY addons addons
COPY policies policies
RUN pip --python /opt/mitmthrottle/bin/python install --no-compile --no-deps . \
 && find /opt/mitmthrottle -type d \( -name tests -o -name test \) -prune -exec rm -rf {} + \
 && python3 -m compileall -q -j 0 /opt/mitmthrottle/lib

FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/* \
 && useradd --uid 10001 --user-group --home-dir /home/mitmthrottle --create-home mitmthrottle \
 # Where mitmproxy makes its authority. A new volume takes over owner and mode of this folder.
 && install -d -o mitmthrottle -g mitmthrottle -m 0700 /home/mitmthrottle/.mitmproxy
COPY --from=build /opt/mitmthrottle /opt/mitmthrottle
COPY docker/healthy.py /usr/local/lib/mitmthrottle/healthy.py
ENV PATH=/opt/mitmthrottle/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER mitmthrottle
WORKDIR /home/mitmthrottle
VOLUME /home/mitmthrottle/.mitmproxy
EXPOSE 8080
# Often, so that it is known to be well within two seconds; the check takes 40 ms of CPU.
HEALTHCHECK --interval=2s --timeout=5s --start-period=10s --retries=10 \
    CMD ["python3", "-I", "-S", "/usr/local/lib/mitmthrottle/healthy.py"]
ENTRYPOINT ["mitmthrottle"]
CMD ["--help"]
