#!/usr/bin/env bash
# Expected: a model version that is made with `model_id=ID` says so: `version.model_id`
#           is ID, when it is made, read and searched for, and the logged model says
#           which version it became.
# Seen:     on SQLite (the store of most servers is the same code) `model_id` is None in
#           every case: its table has no column for it. `create_model_version(source=
#           MODEL.artifact_location, model_id=ID)` leaves no link at all, on either
#           side. `register_model("models:/ID")` notes the version in a tag of the
#           logged model, so only from there the way back can be found.
# Matters:  metrics, parameters and files of MLflow 3 hang on logged models. From the
#           version that is live nobody finds the model whose weights and numbers it has
#           (training runs log several), and clean-up cannot know which logged models
#           are needed. Put the id into a tag of the version yourself.
# With:     mlflow 3.17.2
# Date:     2026-11-28
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet mlflow==3.17.2

cat > check.py <<'PY'
import logging
import os

import mlflow
from mlflow import MlflowClient

print("mlflow", mlflow.__version__)
logging.getLogger("mlflow").setLevel(logging.ERROR)
mlflow.set_tracking_uri("sqlite:///store.db")
client = MlflowClient()
experiment = client.create_experiment("training", artifact_location=os.path.abspath("files"))


def logged(name):
    model = client.create_logged_model(experiment_id=experiment, name=name)
    with open("weights.bin", "wb") as file:
        file.write(b"0123")
    client.log_model_artifact(model.model_id, "weights.bin")
    return client.finalize_logged_model(model.model_id, "READY")


one = logged("by_hand")
client.create_registered_model("live")
made = client.create_model_version("live", source=one.artifact_location, model_id=one.model_id)
read = client.get_model_version("live", made.version)
(found,) = client.search_model_versions("name='live'")
tags = client.get_logged_model(one.model_id).tags
print("create_model_version(model_id=ID): ", made.model_id, read.model_id, found.model_id)
print("  tags of version and logged model:", read.tags, tags)
assert one.model_id and [made.model_id, read.model_id, found.model_id] == [None] * 3
assert not read.tags and not tags

two = logged("by_uri")
version = mlflow.register_model(f"models:/{two.model_id}", "other")
tags = client.get_logged_model(two.model_id).tags
print("register_model('models:/ID'):      ", version.model_id, version.tags)
print("  tags of the logged model:        ", tags)
assert version.model_id is None and not version.tags
assert "other" in tags["mlflow.modelVersions"]
PY
venv/bin/python check.py
# Output seen:
#   mlflow 3.17.2
#   create_model_version(model_id=ID):  None None None
#     tags of version and logged model: {} {}
#   register_model('models:/ID'):       None {}
#     tags of the logged model:         {'mlflow.modelVersions': '[{"name": "other", "version": 1}]'}
