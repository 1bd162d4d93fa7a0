//! Every interleaving of a few gateways and what can happen to them, explored state by state with the real [`Keeper`].
//!
//! A tick is a third of a Lease's duration. Within a tick every gateway that runs gets its calls through, in any order with
//! everything else; what a frozen or killed one had sent may be carried out at any later time, or never. So what is
//! assumed is: the API answers all who run, or nobody, and no call of a running process takes longer than a third of
//! the duration.
//!
//! What is held in every state:
//! - The Lease of a process that was never frozen is never taken, and that of a frozen one only after a whole duration
//!   without renewal.
//! - A pod is removed by another only if its owner is dead, or forfeited it: it was there when its frozen owner's Lease was
//!   taken, and its owner has not written its new term on it since.
//! - Once nothing has gone wrong for two durations, and a gateway runs, the dead and the frozen have no pods, and who runs has
//!   forfeited none of its own. Where somebody deleted the Lease of one of the dead, this holds for the namespaces of which
//!   a gateway has heard that ran undisturbed for two thirds of a duration since, or that runs now.

mod explore;
mod world;

use explore::explore;
use world::{Budget, Event, Grain, LASTS, NONE, World};

/// Set, more can happen in each scenario, and it takes hours.
const DEEP: &str = "PODGATE_MODEL_DEEP";

fn deep() -> bool {
    std::env::var_os(DEEP).is_some()
}

fn told(name: &str, world: World) {
    let begun = std::time::Instant::now();
    let (states, steps) = explore(world);
    eprintln!("model: {name}: {states} states, {steps} steps, {:?}", begun.elapsed());
}

/// Explores gateways that have run for a while; where it may take long also with logins, and from their start.
fn explored(name: &str, budget: Budget) {
    let named = |text: &str| format!("{name}, {text}");
    told(&named("two gateways"), World::settled(2, Grain::Coarse, budget));
    if deep() {
        let busy = Budget { logins: 1, ..budget };
        told(&named("two gateways, call by call"), World::settled(2, Grain::Fine, budget));
        told(&named("two gateways that start, with a login"), World::new(2, Grain::Coarse, busy));
        told(&named("two gateways that start, with a login, call by call"), World::new(2, Grain::Fine, busy));
        told(&named("three gateways"), World::settled(3, Grain::Coarse, budget));
    }
}

#[test]
fn killed_gateway_leaves_nothing() {
    explored("one killed", Budget { kills: 1, ..NONE });
    let first = Budget { kills: 1, victims: 1, ..NONE };
    let busy = Budget { logins: 1, ..first };
    told("the first killed, two gateways that start, with a login", World::new(2, Grain::Coarse, busy));
    told("the first killed, three gateways", World::settled(3, Grain::Coarse, first));
}

#[test]
fn gateway_restarted_at_once_leaves_nothing() {
    let budget = Budget { kills: 1, restarts: 1, ..NONE };
    told("killed and restarted, one gateway", World::settled(1, Grain::Fine, budget));
    if deep() {
        explored("killed and restarted", budget);
    }
}

#[test]
fn frozen_gateway_loses_its_pods_and_wakes_without_harm() {
    let budget = Budget { freezes: 1, thaws: 1, ..NONE };
    explored("frozen and thawed", budget);
    let thaw = Budget { thaws: 1, ..NONE };
    let silent = World::settled(3, Grain::Coarse, thaw).after(&[Event::Freeze(0)], LASTS - 1);
    told("frozen for nearly a Lease and thawed, three gateways", silent);
    let outage = Budget { outages: 1, ..thaw };
    let silent = World::settled(2, Grain::Coarse, outage).after(&[Event::Freeze(0)], LASTS - 1);
    told("frozen for nearly a Lease and thawed, an API outage", silent);
    let early = Budget { early_logins: 1, victims: 1, ..budget };
    told("frozen and thawed, with a login before the renewal", World::settled(2, Grain::Coarse, early));
}

#[test]
fn nobody_is_killed_after_an_outage() {
    explored("API outage", Budget { outages: 1, ..NONE });
    let killed = Budget { kills: 1, victims: 1, ..NONE };
    let long = World::settled(3, Grain::Coarse, killed).after(&[Event::Down], LASTS + 1);
    told("the API away for longer than a Lease lasts, the first killed, three gateways", long);
    if deep() {
        let restarted = Budget { restarts: 1, ..killed };
        let long = World::settled(2, Grain::Coarse, restarted).after(&[Event::Down], LASTS + 1);
        told("the API away for longer than a Lease lasts, the first killed, another started", long);
    }
}

#[test]
fn lost_answer_does_no_harm() {
    explored("answer lost", Budget { losses: 1, kills: 1, ..NONE });
}

#[test]
fn lease_deleted_by_hand_does_no_harm() {
    explored("Lease deleted", Budget { vanishing: 1, ..NONE });
    let first = Budget { vanishing: 1, kills: 1, victims: 1, ..NONE };
    told("Lease deleted, its gateway killed, two gateways, call by call", World::settled(2, Grain::Fine, first));
    let gone = [Event::Vanish(0), Event::Kill(0)];
    let chain = Budget { kills: 1, restarts: 1, ..NONE };
    told("Lease deleted, both killed, another started", World::settled(2, Grain::Coarse, chain).after(&gone, 0));
    if deep() {
        let budget = Budget { vanishing: 1, freezes: 1, restarts: 1, victims: 1, ..NONE };
        told("Lease deleted, frozen, another started", World::settled(1, Grain::Fine, budget));
    }
}
