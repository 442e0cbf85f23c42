//! The store under torture: what the machine, the disk and the power can do to it. Each runs short
//! with all tests, and long in `make torture`; `README.md` beside this file has the list.

#[path = "given/dice.rs"]
mod dice;
#[path = "given/fuzzing.rs"]
mod fuzzing;
#[path = "given/events.rs"]
mod given;
#[path = "given/seeds.rs"]
mod seeds;
#[path = "given/simulated.rs"]
mod simulated;
#[path = "given/watched.rs"]
mod watched;

mod torture {
    //! One file a torment.
    mod consumers;
    mod faults;
    mod flips;
    mod followers;
    mod fuzz;
    mod handover;
    mod history;
    mod linear;
    mod mounts;
    mod process;
    mod sectors;
}
