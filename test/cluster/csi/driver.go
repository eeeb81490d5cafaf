// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// size of a volume, in bytes.
const size = 16 << 20

// driver is the node's part of a driver. There is no controller: volumes are made when they are asked for.
type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	name, node, data, socket string
}

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: d.name, VendorVersion: "1"}, nil
}

func (d *driver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{}, nil
}

func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.node}, nil
}

func (d *driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	stages := &csi.NodeServiceCapability_RPC{Type: csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{{Type: &csi.NodeServiceCapability_Rpc{Rpc: stages}}}}, nil
}

// NodeStageVolume makes a volume available to the node: a disk is mounted, a folder is there anyhow.
func (d *driver) NodeStageVolume(ctx context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	at := r.GetStagingTargetPath()
	if r.GetVolumeContext()["on"] != "disk" || mounted(at) {
		return &csi.NodeStageVolumeResponse{}, nil
	}
	disk := filepath.Join(d.data, r.GetVolumeId()+".img")
	err := os.MkdirAll(at, 0o750)
	if _, missing := os.Stat(disk); err == nil && errors.Is(missing, fs.ErrNotExist) {
		err = errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, size), command(ctx, "mkfs.ext4", "-q", disk))
	}
	if err == nil {
		err = command(ctx, "mount", "-o", "loop", disk, at)
	}
	return &csi.NodeStageVolumeResponse{}, internal(err)
}

func (d *driver) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	return &csi.NodeUnstageVolumeResponse{}, internal(unmount(r.GetStagingTargetPath()))
}

// NodePublishVolume makes a volume available to a pod.
func (d *driver) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	at, told := r.GetTargetPath(), r.GetVolumeContext()
	if mounted(at) {
		return &csi.NodePublishVolumeResponse{}, nil
	}
	if err := os.MkdirAll(at, 0o750); err != nil {
		return nil, internal(err)
	}
	switch {
	case told["csi.storage.k8s.io/ephemeral"] == "true":
		return &csi.NodePublishVolumeResponse{}, internal(unix.Mount("tmpfs", at, "tmpfs", 0, fmt.Sprintf("size=%d", size)))
	case told["on"] == "disk":
		return &csi.NodePublishVolumeResponse{}, internal(unix.Mount(r.GetStagingTargetPath(), at, "", unix.MS_BIND, ""))
	case told["on"] == "folder":
		folder := filepath.Join(d.data, r.GetVolumeId())
		return &csi.NodePublishVolumeResponse{}, internal(errors.Join(os.MkdirAll(folder, 0o750), unix.Mount(folder, at, "", unix.MS_BIND, "")))
	}
	return nil, status.Errorf(codes.InvalidArgument, "a volume is on a disk or a folder, not on %q", told["on"])
}

func (d *driver) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	err := unmount(r.GetTargetPath())
	if err == nil {
		err = os.RemoveAll(r.GetTargetPath())
	}
	return &csi.NodeUnpublishVolumeResponse{}, internal(err)
}

// mounted says whether something is mounted at a path (statx(2), since 5.8).
func mounted(at string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, at, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

func unmount(at string) error {
	if !mounted(at) {
		return nil
	}
	return unix.Unmount(at, 0)
}

func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}

func internal(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(codes.Internal, err.Error())
}
