#!/usr/bin/env bash
# Makes the tree that boots: Debian 12 with systemd, the firewalls that people have beside
# spad, and a service that listens early. Takes the directory to make; it appears whole or not at all.
set -euo pipefail
tree=$1
new=$tree.new
rm -rf --one-file-system "$new"
mkdir -p "$new"
# Wherever this machine gets its packages from.
sources=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
  [ ! -s "$file" ] || sources+=("$file")
done
packages=systemd-sysv,dbus,procps,nftables,iproute2,firewalld,iptables-persistent
# ufw and iptables-persistent do not want each other; here only one of them is enabled at a time.
# shellcheck disable=SC2016 # mmdebstrap's shell knows the tree as $1
mmdebstrap --quiet --variant=minbase --include="$packages" \
  --customize-hook='chroot "$1" apt-get install -qy --no-install-recommends ucf' \
  --customize-hook='chroot "$1" sh -c "cd /tmp && apt-get download -q ufw && dpkg --force-breaks -i ufw*.deb && rm ufw*.deb"' \
  bookworm "$new" "${sources[@]}"

chroot "$new" sh -eu <<'INSIDE'
echo 5ba0d5ba0d5ba0d5ba0d5ba0d5ba0d00 >/etc/machine-id
systemctl disable nftables firewalld ufw netfilter-persistent
systemctl mask systemd-networkd-wait-online.service systemd-resolved.service
for user in spad spad-fw spad-run; do
  useradd --system --user-group --no-create-home --shell /usr/sbin/nologin "$user"
done
groupadd --system spad-admin
# None of them hides anything by itself: what is closed is closed by spad.
sed -i 's/^DefaultZone=.*/DefaultZone=trusted/' /etc/firewalld/firewalld.conf
sed -i 's/^ENABLED=.*/ENABLED=yes/' /etc/ufw/ufw.conf
sed -i 's/^DEFAULT_INPUT_POLICY=.*/DEFAULT_INPUT_POLICY="ACCEPT"/' /etc/default/ufw
INSIDE

# What hides is to be seen before the network, so the service is there before it.
cat >"$new/usr/local/bin/listen" <<'LISTEN'
#!/usr/bin/python3
import selectors, socket
ready = selectors.DefaultSelector()
for port in (8080, 8081):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
    ready.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in ready.select():
        key.fileobj.accept()[0].close()
LISTEN
chmod 755 "$new/usr/local/bin/listen"
cat >"$new/etc/systemd/system/listen.service" <<'UNIT'
[Unit]
DefaultDependencies=no
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
[Service]
ExecStart=/usr/local/bin/listen
[Install]
WantedBy=sysinit.target
UNIT
# What brings the network up on a real machine.
cat >"$new/etc/systemd/system/link.service" <<'UNIT'
[Unit]
DefaultDependencies=no
After=network-pre.target
Wants=network-pre.target
Before=network.target shutdown.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/ip link set eth0 up
ExecStop=/usr/sbin/ip link set eth0 down
[Install]
WantedBy=multi-user.target
UNIT
chroot "$new" systemctl enable listen.service link.service
mv "$new" "$tree"
