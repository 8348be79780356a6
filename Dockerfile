# The worker and the app in one image; docker-compose.yml starts it twice. Not built or run where it was written
# (no engine there): see the note in docker-compose.yml.
FROM python:3.11-slim

# pip reads these as its own settings; the default Linux wheel of torch brings CUDA (about 3 GB), and torch's own
# install page names the index of the CPU build.
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS

RUN useradd --uid 10001 --create-home foretwin \
 && install -d -o foretwin -g foretwin /var/lib/foretwin
WORKDIR /opt/foretwin
COPY pyproject.toml constraints.txt LICENSE app.py cli.py ./
COPY .streamlit .streamlit
COPY plant plant
COPY twin twin
COPY energy energy
COPY predict predict
COPY scheduler scheduler
COPY recovery recovery
COPY screens screens
COPY verbs verbs
COPY data data
RUN pip install --no-cache-dir -c constraints.txt -e .

USER foretwin
ENV FORETWIN_HOME=/var/lib/foretwin PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["foretwin"]
CMD ["--help"]
