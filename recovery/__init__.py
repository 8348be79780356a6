"""Plans, rehearsal, approval, execution, replay and MTTR (C3O Algorithm 3)."""
