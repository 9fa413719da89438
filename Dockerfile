# One image for the Prefect server, the worker and the deploy step of docker-compose.yml. Prefect's
# own image is not used: pyproject.toml caps dependencies without which its scheduler stands still.
#
# It runs as a user without rights, and its root may be read-only: what is written goes to out, runs
# and /tmp, which then are mounts.

FROM python:3.11.14-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /opt/em_impute
# The dependencies are a layer of their own, which a change in the sources leaves as it is.
COPY pyproject.toml .
RUN python -c 'import tomllib; made = tomllib.load(open("pyproject.toml", "rb"))["project"]; extras = made["optional-dependencies"]; print(*made["dependencies"], *extras["postgresql"], *extras["duckdb"], *extras["dask"], *extras["redis"], *extras["openlineage"], sep="\n")' >requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip /opt/em_impute/bin/pip install --requirement requirements.txt
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip /opt/em_impute/bin/pip install --no-deps .

FROM python:3.11.14-slim-bookworm
# No program gives its user more rights than there were.
RUN useradd --create-home --no-log-init --shell /usr/sbin/nologin --uid 1000 --user-group em_impute \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY --from=build /opt/em_impute /opt/em_impute
# Caches, Prefect's own files and its UI as it serves it go to /tmp. Nothing is told to its makers.
ENV PATH=/opt/em_impute/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    PREFECT_HOME=/tmp/prefect \
    PREFECT_SERVER_UI_STATIC_DIRECTORY=/tmp/prefect_ui \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1 \
    EM_IMPUTE_ROOT=/srv/em_impute

# Jobs name their tables relative to this folder, and cannot leave it. Volumes mounted on out and runs
# take over its owner.
WORKDIR /srv/em_impute
RUN install --directory --owner=1000 --group=1000 out runs
COPY flows flows
USER 1000:1000
CMD ["em-impute", "--help"]
