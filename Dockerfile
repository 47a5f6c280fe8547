# The archive in a container: data in /data, ports 8080 and 11112 (DIMSE), an unprivileged user, no compiler in the final
# stage. Who calls by DIMSE must be registered: PUT /peers/AET with a token of scope admin.
#   docker build -t fileroom .
#   docker run -p 8080:8080 -p 11112:11112 -v fileroom:/data --name fileroom fileroom
#   docker exec fileroom fileroom token create me --scope read --scope write --scope admin
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /venv
COPY pyproject.toml constraints.txt README.md ./
COPY app app
COPY dimse_bridge dimse_bridge
COPY migrations migrations
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[embedded]'

FROM python:3.11-slim
RUN useradd --uid 10001 --user-group --home-dir /data --no-log-init fileroom \
  && install -d -o fileroom -g fileroom -m 0700 /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
  FILEROOM_DATA=/data FILEROOM_HTTP_HOST=0.0.0.0 FILEROOM_AUTH=token FILEROOM_LOG_FORMAT=json \
  FILEROOM_DIMSE_HOST=0.0.0.0 FILEROOM_DIMSE_PLAIN=anywhere
USER fileroom
WORKDIR /data
VOLUME /data
EXPOSE 8080 11112
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=3)"]
ENTRYPOINT ["fileroom"]
CMD ["serve"]
