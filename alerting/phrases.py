"""The words of the messages, by alert type, metric and phase. Tables only."""

from __future__ import annotations

from embedwatch.alert_words import SUBJECTS, TITLES
from embedwatch.events import AlertType

__all__ = ["ACTIONS", "KNOWN_SENTENCES", "PHASE_CAUSES", "SUBJECTS", "TITLES"]

#: What to do, as one or two sentences that a tired person can follow.
ACTIONS: dict[AlertType, str] = {
    "HIGH_LATENCY": "Look at the slowest phase: queue wait asks for workers, embedding for a smaller batch or a GPU.",
    "HIGH_ERROR_RATE": "Read the error classes in `embedwatch report`, then the first dead letters of that class.",
    "LOW_CACHE_HIT_RATE": "Check that the cache is reachable and large enough, and that no model setting changed: "
    "a new setting starts a new cache.",
    "BUDGET_EXCEEDED": "See which model and tenant spend most in `embedwatch report`; pause or cache what can wait.",
    "BUDGET_FORECAST": "There is time: lower the rate of what can wait, or raise the budget before it runs out.",
    "BUDGET_BURN_RATE": "Look for a job that was started twice or a producer in a loop before the budget is gone.",
    "UNPRICED_MODEL": "Give its price in `pricing.usd_per_million_tokens`; spend is counted too low until then.",
    "HIGH_QUEUE_DEPTH": "Add workers, up to the number of partitions, or slow the producers down.",
    "HIGH_LAG": "Add workers, up to the number of partitions; if lag grows while they idle, look for a stalled one.",
    "QUEUE_STALLED": "More workers do not help. Where a partition stands still, restart the worker that holds it and "
    "read its last log lines; where texts fail, read the first dead letters: `embedwatch dlq list`.",
    "AT_CAPACITY": "Raise the limit that is named (partitions: those of the texts topic), or slow the producers down; "
    "until then texts wait longer than `scaling.target_seconds`.",
    "LOW_THROUGHPUT": "Check that producers still send and that every worker is up; then compare the time by phase.",
    "LATENCY_REGRESSION": "Compare with what was deployed since the baseline: model, batch size, machine.",
    "LOW_GPU_UTILIZATION": "Give the GPU larger batches, or run fewer workers on it.",
    "SLOW_MODEL_LOAD": "Keep the model on a local disk or in the image; scaling up waits for this time.",
    "WORKER_DOWN": "Restart it and read its last log lines; its partitions go to the others meanwhile.",
    "NO_DATA": "Check that workers and agents run and that both reach Kafka: nothing is known until they do.",
    "CACHE_UNAVAILABLE": "Check that the cache runs and answers; until then every text is embedded and paid for anew.",
    "REJECTED_EVENTS": "Look at the workers named: their version or clock may be wrong. What they sent is kept: "
    "`embedwatch dlq list`; spend and counts are too low by it.",
    "ALERTING_BEHIND": "Look at the log of `embedwatch alerts`, at its machine and at the broker: verdicts wait there.",
    "RECEIVER_FAILING": "Its messages are kept and go out when it works again. `embedwatch alerts test` says what is "
    "wrong with it.",
}

#: Metrics of which "X is V, limit L" would be poor English. `span` begins with a blank or is empty.
KNOWN_SENTENCES: dict[str, str] = {
    "latency_regression_pct": "{value} of the texts are slower than the baseline's p95{span} (5 % would be expected), "
    "limit {limit}.",
    "unpriced_tokens": "{value} were embedded at no known price{span}: the spend shown is too low.",
    "cache_errors": "Calls to the cache fail: {value}{span}, limit {limit}.",
    "daily_cost_usd": "Spend of {day} is {value}, limit {limit}.",
    "daily_forecast_usd": "At this pace {day} will have cost {value} when it is over, budget {limit}.",
    "budget_burn_pct": "{value} of the budget of {day} was spent{span}, limit {limit}.",
    "queue_depth": "{value} are waiting, limit {limit}.",
    "lag_seconds": "The oldest text has waited for {value}, limit {limit}.",
    "stalled_partitions": "Nobody works on {value} of the queue, limit {limit}.",
    "queue_failing_pct": "{value} of the texts that workers take fail{span}, limit {limit}: nothing is scaled.",
    "workers_over_capacity": "To keep up it takes {value} more than the limits allow.",
    "model_load_seconds": "Loading the model took {value}, limit {limit}.",
    "worker_silent_seconds": "A worker has been silent for {value}, limit {limit}.",
    "workers_silent_seconds": "No worker has been heard of for {value}, limit {limit}.",
    "data_silent_seconds": "No batch was reported for {value}, limit {limit}.",
    "rejected_events": "Could not be counted: {value}{span}, limit {limit}.",
    "agents_silent_seconds": "The agents have given no verdict for {value}, limit {limit}: nothing is judged now.",
    "alerting_behind_seconds": "Verdicts are {value} old when they are read, limit {limit}: alerts come later by that.",
    "receiver_failing_seconds": "It has taken no message for {value}, limit {limit}.",
}

#: Phases of a batch as a likely cause: what happens in it, and what that suggests.
PHASE_CAUSES: dict[str, tuple[str, str]] = {
    "queue_wait": ("waiting in the queue", "add workers"),
    "cache_lookup": ("looking up the cache", "it is slow or far away"),
    "tokenise": ("tokenising", "texts are long, or the processor is busy"),
    "embed": ("the model itself", "batches are too large, or the machine is too slow"),
    "cache_write": ("writing to the cache", "it is slow or full"),
    "publish": ("publishing to Kafka", "the broker is slow"),
}
