# syntax=docker/dockerfile:1

# Built in one image, run in another: the second has no compiler, no pip cache, no sources.
FROM python:3.13-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/perpdesk

COPY requirements/build.lock requirements/runtime.lock requirements/
RUN /opt/perpdesk/bin/pip install --require-hashes -r requirements/runtime.lock \
 && python -m pip install --require-hashes -r requirements/build.lock

COPY pyproject.toml README.md LICENSE ./
COPY src src
# The wheel is built by the locked tools, then installed beside the locked dependencies.
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/perpdesk/bin/pip install --no-deps --no-index --find-links /wheels perpdesk \
 && /opt/perpdesk/bin/python -m compileall -q /opt/perpdesk/lib


FROM python:3.13-slim

LABEL org.opencontainers.image.title="perpdesk" \
      org.opencontainers.image.licenses="GPL-3.0-or-later"

# /data is the only place that is written; the user's number is fixed so that volumes keep their owner.
RUN groupadd --gid 10001 perpdesk \
 && useradd --uid 10001 --gid perpdesk --no-create-home --home-dir /data --shell /usr/sbin/nologin perpdesk \
 && install -d -o perpdesk -g perpdesk /data

COPY --from=build /opt/perpdesk /opt/perpdesk

ENV PATH=/opt/perpdesk/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/data \
    STRATEGIES_DIR=/data/strategies

USER perpdesk
WORKDIR /data
VOLUME /data

# The image is the terminal program: it has no server yet, hence no port and no health check.
ENTRYPOINT ["perpdesk"]
CMD ["--help"]
