"""The file that MLflow copies into every version ("models from code") and runs to load it.

It says nothing but where the code is, so that old versions load with the clone's present code
instead of calling it as it once was.
"""

import mlflow

from nadir.serving.served_model import NadirModel

mlflow.models.set_model(NadirModel())
