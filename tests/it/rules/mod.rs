//! Alert rules, their tests, their runbooks and the files to copy belong together. `.ci/rules` runs the
//! tests of the rules with Prometheus; these tests assert that nothing is missing.

mod alerts;
mod labels;
mod provisioning;
mod rule_tests;
mod runbooks;
