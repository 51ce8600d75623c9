//! The dashboard: pages by status and key HTML, forms as a browser without JavaScript sends them.

mod browser;
mod certificates;
mod devices;
mod directories;
mod forms;
mod pages;
mod setup;
mod sign_in;
