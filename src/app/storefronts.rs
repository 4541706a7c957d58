//! Assigns a storefront to each gateway.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Site;
use crate::admin::AdminSettings;
use crate::client::Client;
use crate::pages::{Side, Storefront};
use crate::services::{Host, ServiceName};
use crate::settings::Blueprint;

/// Puts the storefront beside the edge of each gateway of this process.
pub(super) fn storefronts(
    site: &mut Site,
    admin_settings: &AdminSettings,
    blueprint: &Blueprint,
    (addresses, admin): (&BTreeMap<ServiceName, SocketAddr>, SocketAddr),
    host: &Host,
) -> Result<(), String> {
    // A browser on another machine cannot reach this machine's loopback.
    let console =
        (admin_settings.listen.ip().is_loopback() && blueprint.host.is_loopback()).then(|| format!("http://{admin}/"));
    for (gateway, side) in [(ServiceName::Gateway, Side::Protected), (ServiceName::GatewayBare, Side::Bare)] {
        let Some(router) = site.routers.get_mut(&gateway) else { continue };
        let twin = match side {
            Side::Protected => Some(blueprint.url(addresses, ServiceName::GatewayBare)?),
            Side::Bare => None,
        };
        let own = |client: &Client| client.service() != ServiceName::GatewayBare.as_str();
        let clients = match side {
            Side::Protected => site.clients.iter().filter(|client| own(client)).cloned().collect(),
            Side::Bare => Vec::new(),
        };
        let (api, tasks) = (router.clone(), host.tasks.clone());
        let storefront = Storefront { side, twin, console: console.clone(), clients, api, tasks };
        *router = std::mem::take(router).merge(storefront.routes()?);
    }
    Ok(())
}
