# One image for the Prefect server, the worker and the deploy step of docker-compose.yml. Prefect's
# own image is not used: pyproject.toml caps dependencies without which its scheduler stands still.

FROM python:3.11.14-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN python -m venv /opt/em_impute
RUN --mount=type=cache,target=/root/.cache/pip /opt/em_impute/bin/pip install '.[postgresql,duckdb,redis]'

FROM python:3.11.14-slim-bookworm
RUN useradd --create-home --uid 1000 em_impute
COPY --from=build /opt/em_impute /opt/em_impute
ENV PATH=/opt/em_impute/bin:$PATH \
    PYTHONUNBUFFERED=1

# Jobs name their tables relative to this folder. Volumes mounted on out and runs take over its owner.
WORKDIR /srv/em_impute
RUN install --directory --owner=em_impute out runs
COPY flows flows
USER em_impute
CMD ["em-impute", "--help"]
