//! Model check of the [`Coordinator`]: every interleaving of a few gateways and the events that can happen to them, explore_variants
//! state by state with the real code.
//!
//! A tick is a third of a Lease's duration. Within a tick every running gateway gets its calls through, in any order with
//! all other events. The calls that a frozen or killed gateway had sent may be carried out at any later time, or never. So
//! the model assumes that the API answers all running gateways or none, and that no call of a running process takes longer
//! than a third of the duration.
//!
//! Invariants of every state:
//! - The Lease of a process that was never frozen is never taken, and that of a frozen one only after a whole duration
//!   without renewal.
//! - A pod is removed by another gateway only if its owner is dead, or the pod is *condemned*: it existed when its frozen
//!   owner's Lease was taken, and its owner has not labelled it with the new term since.
//! - Once nothing has gone wrong for two durations, and a gateway runs, dead and frozen gateways have no pods, and no pod
//!   of a running gateway is condemned. If somebody deleted the Lease of a dead gateway, this holds for the namespaces
//!   that are known to a gateway that runs now, or that ran undisturbed for two thirds of a duration since.

mod explore;
mod world;

use explore::explore;
use world::{EventBudget, Interleaving, LEASE_TICKS, ModelEvent, NO_EVENTS, World};

/// Environment variable: if it is set, more can happen in each scenario, and the check takes hours.
const DEEP: &str = "PODGATE_MODEL_DEEP";

fn deep() -> bool {
    std::env::var_os(DEEP).is_some()
}

fn report_exploration(name: &str, world: World) {
    let begun = std::time::Instant::now();
    let (states, steps) = explore(world);
    eprintln!("model: {name}: {states} states, {steps} steps, {:?}", begun.elapsed());
}

/// Explores gateways that have run for a while; in the deep check also with logins, and from their start.
fn explore_variants(name: &str, budget: EventBudget) {
    let named = |text: &str| format!("{name}, {text}");
    report_exploration(&named("two gateways"), World::settled(2, Interleaving::ByCycle, budget));
    if deep() {
        let busy = EventBudget { logins: 1, ..budget };
        report_exploration(&named("two gateways, call by call"), World::settled(2, Interleaving::ByCall, budget));
        report_exploration(&named("two gateways that start, with a login"), World::new(2, Interleaving::ByCycle, busy));
        report_exploration(
            &named("two gateways that start, with a login, call by call"),
            World::new(2, Interleaving::ByCall, busy),
        );
        report_exploration(&named("three gateways"), World::settled(3, Interleaving::ByCycle, budget));
    }
}

#[test]
fn killed_gateway_leaves_nothing() {
    explore_variants("one killed", EventBudget { kills: 1, ..NO_EVENTS });
    let first = EventBudget { kills: 1, targets: 1, ..NO_EVENTS };
    let busy = EventBudget { logins: 1, ..first };
    report_exploration(
        "the first killed, two gateways that start, with a login",
        World::new(2, Interleaving::ByCycle, busy),
    );
}

#[test]
fn gateway_restarted_at_once_leaves_nothing() {
    let budget = EventBudget { kills: 1, restarts: 1, ..NO_EVENTS };
    report_exploration("killed and restarted, one gateway", World::settled(1, Interleaving::ByCall, budget));
    if deep() {
        explore_variants("killed and restarted", budget);
    }
}

#[test]
fn frozen_gateway_loses_its_pods_and_wakes_without_harm() {
    let budget = EventBudget { freezes: 1, thaws: 1, ..NO_EVENTS };
    explore_variants("frozen and thawed", budget);
    let thaw = EventBudget { thaws: 1, ..NO_EVENTS };
    let outage = EventBudget { outages: 1, ..thaw };
    let frozen = World::settled(2, Interleaving::ByCycle, outage).after(&[ModelEvent::Freeze(0)], LEASE_TICKS - 1);
    report_exploration("frozen for nearly a Lease and thawed, an API outage", frozen);
}

#[test]
fn nobody_is_killed_after_an_outage() {
    explore_variants("API outage", EventBudget { outages: 1, ..NO_EVENTS });
    if deep() {
        let restarted = EventBudget { kills: 1, restarts: 1, targets: 1, ..NO_EVENTS };
        let long = World::settled(2, Interleaving::ByCycle, restarted).after(&[ModelEvent::Down], LEASE_TICKS + 1);
        report_exploration("the API away for longer than a Lease lasts, the first killed, another started", long);
    }
}

#[test]
fn lost_answer_does_no_harm() {
    explore_variants("answer lost", EventBudget { losses: 1, kills: 1, ..NO_EVENTS });
}

#[test]
fn lease_deleted_by_hand_does_no_harm() {
    explore_variants("Lease deleted", EventBudget { lease_deletions: 1, ..NO_EVENTS });
    let first = EventBudget { lease_deletions: 1, kills: 1, targets: 1, ..NO_EVENTS };
    report_exploration(
        "Lease deleted, its gateway killed, two gateways, call by call",
        World::settled(2, Interleaving::ByCall, first),
    );
    if deep() {
        let budget = EventBudget { lease_deletions: 1, freezes: 1, restarts: 1, targets: 1, ..NO_EVENTS };
        report_exploration("Lease deleted, frozen, another started", World::settled(1, Interleaving::ByCall, budget));
    }
}

#[test]
#[ignore = "half a minute: .ci/long runs it"]
fn killed_gateway_of_three_leaves_nothing() {
    let first = EventBudget { kills: 1, targets: 1, ..NO_EVENTS };
    report_exploration("the first killed, three gateways", World::settled(3, Interleaving::ByCycle, first));
    let long = World::settled(3, Interleaving::ByCycle, first).after(&[ModelEvent::Down], LEASE_TICKS + 1);
    report_exploration("the API away for longer than a Lease lasts, the first killed, three gateways", long);
}

#[test]
#[ignore = "two minutes: .ci/long runs it"]
fn frozen_gateway_among_three_or_with_a_login_wakes_without_harm() {
    let thaw = EventBudget { thaws: 1, ..NO_EVENTS };
    let frozen = World::settled(3, Interleaving::ByCycle, thaw).after(&[ModelEvent::Freeze(0)], LEASE_TICKS - 1);
    report_exploration("frozen for nearly a Lease and thawed, three gateways", frozen);
    let early = EventBudget { freezes: 1, early_logins: 1, targets: 1, ..thaw };
    report_exploration(
        "frozen and thawed, with a login before the renewal",
        World::settled(2, Interleaving::ByCycle, early),
    );
}

#[test]
#[ignore = "a minute: .ci/long runs it"]
fn lease_deleted_by_hand_does_no_harm_when_all_gateways_are_killed() {
    let gone = [ModelEvent::DeleteLease(0), ModelEvent::Kill(0)];
    let chain = EventBudget { kills: 1, restarts: 1, ..NO_EVENTS };
    report_exploration(
        "Lease deleted, both killed, another started",
        World::settled(2, Interleaving::ByCycle, chain).after(&gone, 0),
    );
}
