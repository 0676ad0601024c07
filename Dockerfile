# The service with the shipped models. What training needs (torch among it) is not in it.
FROM python:3.11-slim AS build
# No pip inside: this folder is all that the image takes over from the build.
RUN python -m venv --without-pip /opt/carousel
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY service service
# Not used here, but a package of the same distribution.
COPY training training
RUN pip --python /opt/carousel/bin/python install --no-cache-dir --constraint constraints.txt '.[service]'

# For NVIDIA GPUs: `docker compose --profile gpu up carousel-gpu`.
FROM build AS build-gpu
RUN pip --python /opt/carousel/bin/python install --no-cache-dir --constraint constraints.txt '.[service-gpu]' \
    && pip --python /opt/carousel/bin/python uninstall --yes onnxruntime \
    && pip --python /opt/carousel/bin/python install --no-cache-dir --no-deps --force-reinstall 'onnxruntime-gpu<2'

FROM python:3.11-slim AS service
ENV PATH=/opt/carousel/bin:$PATH \
    CAROUSEL_HOST=0.0.0.0 \
    CAROUSEL_MODELS=/models \
    CAROUSEL_STORE=embedded \
    CAROUSEL_STORE_PATH=/sessions
COPY --from=build /opt/carousel /opt/carousel
# Leaves the bytecode of the standard library behind, which the base image lacks and a read-only container cannot
# write: without it each start and each health check compiles anew.
RUN python -c 'import http.client, service.server'
COPY models /models
# A number, so that whoever runs the image can see that it is not root.
RUN install -d -o 10001 -g 10001 /sessions
VOLUME /sessions
USER 10001:10001
EXPOSE 8000
# http.client, not urllib: a proxy in the environment is not for this address.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["python", "-c", "\
import http.client; \
service = http.client.HTTPConnection('127.0.0.1', 8000, timeout=2); \
service.request('GET', '/health/ready'); \
exit(service.getresponse().status != 200)"]
CMD ["carousel", "serve"]

FROM service AS gpu
USER root
RUN rm -r /opt/carousel
COPY --from=build-gpu /opt/carousel /opt/carousel
ENV CAROUSEL_PROVIDERS=cuda,cpu
USER 10001:10001

# What is built unless a target is named.
FROM service
