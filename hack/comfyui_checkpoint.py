# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes a random-weight, SD1.5-shaped mini checkpoint (340 MB, 7 s) that the real ComfyUI loads and runs on CPU.

Usage: python comfyui_checkpoint.py COMFYUI_DIR OUT.safetensors   (with ComfyUI's own Python environment)
UNet with 320 channels and one level, CLIP-L, TAESD as VAE.
"""
import sys
COMFY, OUT = sys.argv[1], sys.argv[2]
sys.path.insert(0, COMFY); sys.argv = ['x', '--cpu']
import torch, safetensors.torch as st, time
import comfy.options; comfy.options.enable_args_parsing()
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
import comfy.ops
torch.manual_seed(0)

cfg=dict(image_size=32,in_channels=4,out_channels=4,model_channels=320,num_res_blocks=[1,1],channel_mult=(1,1),transformer_depth=[1,1],transformer_depth_middle=1,transformer_depth_output=[1,1,1,1],context_dim=768,num_heads=8,num_head_channels=-1,use_spatial_transformer=True,use_linear_in_transformer=False,legacy=False,use_checkpoint=False,dtype=torch.float32,operations=comfy.ops.disable_weight_init)
u=UNetModel(**cfg)
sd={}
def fill(shape,name):
    if name.endswith('bias'): return torch.zeros(shape)
    if len(shape)==1: return torch.ones(shape)
    fan=1
    for d in shape[1:]: fan*=d
    return torch.randn(shape)/fan**0.5
for k,v in u.state_dict().items(): sd['model.diffusion_model.'+k]=fill(tuple(v.shape),k).half()
print('unet params',sum(v.numel() for v in sd.values()))
H,L,F=768,12,3072
P='cond_stage_model.transformer.text_model.'
def put(k,*s): sd[P+k]=fill(s,k).half()
put('embeddings.token_embedding.weight',49408,H); put('embeddings.position_embedding.weight',77,H)
for i in range(L):
    b=f'encoder.layers.{i}.'
    for n in 'q','k','v','out': put(b+f'self_attn.{n}_proj.weight',H,H); put(b+f'self_attn.{n}_proj.bias',H)
    for n in '1','2': put(b+f'layer_norm{n}.weight',H); put(b+f'layer_norm{n}.bias',H)
    put(b+'mlp.fc1.weight',F,H); put(b+'mlp.fc1.bias',F); put(b+'mlp.fc2.weight',H,F); put(b+'mlp.fc2.bias',H)
put('final_layer_norm.weight',H); put('final_layer_norm.bias',H)
from comfy.taesd.taesd import TAESD
import inspect
# ComfyUI of 2024 has no such argument; its TAESD always has four channels.
t=TAESD(latent_channels=4) if 'latent_channels' in inspect.signature(TAESD).parameters else TAESD()
for k,v in t.state_dict().items():
    if k.startswith('vae_'): continue
    sd['first_stage_model.'+k]=fill(tuple(v.shape),k).half()
st.save_file({k:v.contiguous() for k,v in sd.items()},OUT)
print(len(sd),sum(v.numel() for v in sd.values()))
