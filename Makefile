# SPDX-License-Identifier: Apache-2.0
# The front door.  The build itself is meson's; nothing here but shortcuts.
#
#	make			build everything into build/; installs nothing
#	make quickstart		install what is missing, build, show the main job on this machine
#	make check		install what the tests need, build, run all of them
#	make bench		figures, each beside its rival
#	make install		into $(DESTDIR)$(prefix)
#	make deps		what building needs, from the distribution
#	make clean

BUILD	= build
prefix	= /usr/local
sysconfdir = $(if $(filter /usr,$(prefix)),/etc,$(prefix)/etc)

PROGRAMS = cli/godwit agent/godwit-agent server/godwit-server console/godwit-console

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)
	@for p in $(PROGRAMS); do ln -sfn $$p $(BUILD)/$${p##*/}; done

$(BUILD)/build.ninja: | check-deps
	@meson setup $(BUILD) --prefix=$(prefix) $(MESON_OPTIONS)

check-deps:
	@scripts/install-deps --check build

deps:
	@scripts/install-deps build

quickstart: deps
	@$(MAKE) --no-print-directory all
	@DISK='$(DISK)' scripts/quickstart

check:
	@scripts/install-deps build test
	@tests/run

bench:
	@scripts/install-deps build test
	@$(MAKE) --no-print-directory all
	@bench/run

install: all
	@meson configure $(BUILD) --prefix=$(prefix) --sysconfdir=$(sysconfdir)
	@DESTDIR='$(DESTDIR)' meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-fuzz $(BUILD)-tsan

.PHONY: all check-deps deps quickstart check bench install clean
