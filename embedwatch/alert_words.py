"""Names of alerts and of what they judge, for everybody who tells of them. Tables only."""

from __future__ import annotations

from embedwatch.events import AlertType

#: What is wrong, by type.
TITLES: dict[AlertType, str] = {
    "HIGH_LATENCY": "high latency",
    "HIGH_ERROR_RATE": "high error rate",
    "LOW_CACHE_HIT_RATE": "low cache hit rate",
    "BUDGET_EXCEEDED": "budget reached",
    "BUDGET_FORECAST": "budget will be exceeded",
    "BUDGET_BURN_RATE": "budget burns too fast",
    "UNPRICED_MODEL": "model without a price",
    "HIGH_QUEUE_DEPTH": "deep queue",
    "HIGH_LAG": "high lag",
    "QUEUE_STALLED": "queue stalled",
    "AT_CAPACITY": "more workers needed than allowed",
    "LOW_THROUGHPUT": "low throughput",
    "LATENCY_REGRESSION": "latency got worse",
    "LOW_GPU_UTILIZATION": "GPU mostly idle",
    "SLOW_MODEL_LOAD": "slow model load",
    "WORKER_DOWN": "worker down",
    "NO_DATA": "no data",
    "CACHE_UNAVAILABLE": "cache unavailable",
    "REJECTED_EVENTS": "events not counted",
    "ALERTING_BEHIND": "alerts come late",
    "RECEIVER_FAILING": "messages do not arrive",
}

#: Metrics as the subject of a sentence.
SUBJECTS: dict[str, str] = {
    "latency_p50_ms": "median latency",
    "latency_p95_ms": "p95 latency",
    "latency_p99_ms": "p99 latency",
    "latency_avg_ms": "mean latency",
    "latency_max_ms": "the slowest text's latency",
    "latency_regression_pct": "the share of texts slower than the baseline's p95",
    "error_rate_pct": "error rate",
    "cache_hit_rate_pct": "cache hit rate",
    "throughput_texts_per_s": "throughput",
    "throughput_tokens_per_s": "throughput",
    "unpriced_tokens": "the number of tokens without a price",
    "cache_errors": "the number of failed cache calls",
    "daily_cost_usd": "spend",
    "daily_forecast_usd": "the spend expected for the day",
    "budget_burn_pct": "the share of the day's budget spent lately",
    "queue_depth": "the queue",
    "lag_seconds": "the wait of the oldest text",
    "stalled_partitions": "the number of stalled partitions",
    "queue_failing_pct": "the share of the queue's texts that fail",
    "workers_over_capacity": "the number of workers wanted beyond the limits",
    "model_load_seconds": "model load time",
    "gpu_utilization_pct": "GPU utilisation",
    "worker_silent_seconds": "the longest silence of a worker",
    "workers_silent_seconds": "the time without a sign of any worker",
    "data_silent_seconds": "the time without a batch",
    "rejected_events": "the number of events not counted",
    "agents_silent_seconds": "the time without a verdict",
    "alerting_behind_seconds": "the age of a verdict when it is read",
    "receiver_failing_seconds": "the time without a message taken",
}
