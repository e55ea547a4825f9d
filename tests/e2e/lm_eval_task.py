"""lm-eval on the questions of tests/e2e/lm_eval, by whichever of its backends: the scores and each choice's log probability."""

import logging
import os
import pathlib
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parent / "lm_eval"
EXPECTED = FOLDER / "expected.json"


def evaluate(model, arguments, batch_size):
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import lm_eval
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        text = (FOLDER / "task.yaml").read_text().replace("QUESTIONS", str(FOLDER / "questions.jsonl"))
        (pathlib.Path(folder) / "task.yaml").write_text(text)
        os.environ["HF_DATASETS_CACHE"] = folder
        done = lm_eval.simple_evaluate(model=model, model_args=arguments, tasks=["lamina_questions"], batch_size=batch_size,
                                       bootstrap_iters=0, verbosity="ERROR",
                                       task_manager=TaskManager(include_path=folder, include_defaults=False))
    scores = done["results"]["lamina_questions"]
    samples = sorted(done["samples"]["lamina_questions"], key=lambda sample: sample["doc_id"])
    return {"acc": scores["acc,none"], "acc_norm": scores["acc_norm,none"],
            "log_probabilities": [[float(choice[0]) for choice in sample["filtered_resps"]] for sample in samples]}
