"""The classes of C3O Table 2 and their quality of service: what a site promises each class of work."""

from __future__ import annotations

import pytest

from plant import checkpoint, migration, queueing
from plant.workload import JOB_CLASSES, job_class

ids = [each.name for each in JOB_CLASSES]


@pytest.mark.parametrize("each", JOB_CLASSES, ids=ids)
def test_the_limits_of_a_class_can_be_kept(each):
    assert each.move_mode in migration.MODES
    assert each.restart_s <= each.rto_s, "a restart alone would break the promise"
    assert each.checkpoint_interval_s <= max(each.rpo_s, 0.0) or each.checkpoint_interval_s == 0.0
    assert 0.0 <= each.replicated_frac <= 1.0


@pytest.mark.parametrize("each", JOB_CLASSES, ids=ids)
def test_people_wait_for_services_and_for_nothing_else(each):
    assert each.is_service == (each.max_latency_ms is not None) == (each.request_s is not None)
    if each.is_service:
        # a replica at half load answers all but its tail within the limit
        lam = 0.5 * each.servers / each.request_s
        late = queueing.late_frac(each.servers, lam, 1.0 / each.request_s, each.response_s)
        assert late <= each.tail_frac
        assert each.checkpoint_interval_s == 0.0
        assert each.rto_s <= 300.0


def test_the_levels_of_table_2_order_weights_and_limits():
    # AI training medium, inference high, big data low, scientific variable, web high
    assert job_class("big_data").weight < job_class("training").weight < job_class("inference").weight
    assert job_class("inference").rto_s < job_class("training").rto_s < job_class("big_data").rto_s
    assert job_class("web").weight == job_class("inference").weight


def test_a_save_of_training_state_to_the_network_takes_what_the_class_says():
    training = job_class("training")
    assert checkpoint.save_time_s(training.state_gb) == pytest.approx(training.checkpoint_cost_s)


def test_copying_ahead_pays_for_web_and_not_for_training():
    for gb_per_s in (1.25, 12.5):
        assert migration.converges(gb_per_s, job_class("web").dirty_gb_per_s)
        assert not migration.converges(gb_per_s, job_class("training").dirty_gb_per_s)
